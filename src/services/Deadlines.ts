/**
 * Time limits of whatever runs or waits: all of one clock share one timer, so that a limit costs next to nothing however
 * many there are, and the clock of a test turns them all.
 */
import { Clock, Context, Duration, Effect, type Fiber, Scheduler } from "effect"

export interface Deadlines {
  /** Calls `expire` once so many milliseconds have passed, unless what it gives back is called before. */
  (millis: number, expire: () => void): () => void
  /** The same without closures, for those that are many. It must not be set already. */
  readonly set: (millis: number, limit: Limit) => void
  /** Lifting it twice is lifting it once. */
  readonly lift: (limit: Limit) => void
}

/** Whose limit passes: nothing else is known of it. */
export interface Limit {
  readonly expire: () => void
  /** In milliseconds of the clock; theirs, as the next. */
  until: number
  /** Those that are equally long, while it is set. */
  among: Set<Limit> | undefined
}

/** For so many milliseconds a timer that nobody needs is kept; it is about real time, whatever the clock. */
const IDLE = 100

const nothing = () => {}
const byClock = new WeakMap<Clock.Clock, Deadlines>()

/** By the clock of this context: a test's own, or the one of the whole program. */
export const deadlinesIn = (context: Context.Context<never>): Deadlines => {
  const clock = Context.get(context, Clock.Clock)
  const known = byClock.get(clock)
  if (known !== undefined) return known
  const deadlines = makeDeadlines(clock, Context.get(context, Scheduler.Scheduler))
  byClock.set(clock, deadlines)
  return deadlines
}

const makeDeadlines = (clock: Clock.Clock, scheduler: Scheduler.Scheduler): Deadlines => {
  const fork = Effect.runForkWith(Context.make(Scheduler.Scheduler, scheduler))
  /** By how long they are: of those that are equally long, what was set first passes first. */
  const byLength = new Map<number, Set<Limit>>()
  let timer: { readonly fiber: Fiber.Fiber<void>; readonly at: number } | undefined
  let running = 0
  let resting = false

  const stop = () => {
    timer?.fiber.interruptUnsafe()
    timer = undefined
  }
  const wakeAt = (at: number, now: number) => {
    if (timer !== undefined && timer.at <= at) return
    stop()
    const pause = Duration.millis(Math.max(1, at - now))
    timer = { fiber: fork(Effect.andThen(clock.sleep(pause), Effect.sync(look))), at }
  }
  const look = () => {
    timer = undefined
    const now = clock.currentTimeMillisUnsafe()
    let next = Number.POSITIVE_INFINITY
    for (const [length, limits] of byLength) {
      for (const limit of limits) {
        if (limit.until > now) {
          next = Math.min(next, limit.until)
          break
        }
        lower(limit, limits)
        limit.expire()
      }
      if (limits.size === 0) byLength.delete(length)
    }
    if (next < Number.POSITIVE_INFINITY) wakeAt(next, now)
  }
  /** The timer would keep the program alive for nothing; but mostly the next limit follows soon. */
  const rest = () => {
    resting = false
    if (running > 0) return
    stop()
    byLength.clear()
  }

  const lower = (limit: Limit, among: Set<Limit>) => {
    among.delete(limit)
    limit.among = undefined
    running--
  }
  const set = (millis: number, limit: Limit) => {
    const now = clock.currentTimeMillisUnsafe()
    limit.until = now + millis
    let limits = byLength.get(millis)
    if (limits === undefined) {
      limits = new Set()
      byLength.set(millis, limits)
    }
    limits.add(limit)
    limit.among = limits
    running++
    wakeAt(limit.until, now)
  }
  const lift = (limit: Limit) => {
    if (limit.among === undefined) return
    lower(limit, limit.among)
    if (running > 0 || resting) return
    resting = true
    setTimeout(rest, IDLE).unref()
  }
  const deadline = (millis: number, expire: () => void) => {
    const limit = { expire, until: 0, among: undefined }
    set(millis, limit)
    return () => {
      lift(limit)
      // A table that the set outgrew may hold the limit until it is collected, and must not hold what it was for.
      limit.expire = nothing
    }
  }
  return Object.assign(deadline, { set, lift })
}
