/**
 * Time limits of whatever runs or waits: all of one clock share one timer, so that a limit costs next to nothing however
 * many there are, and the clock of a test turns them all.
 */
import { Clock, Context, Duration, Effect, type Fiber, Scheduler } from "effect"

/** Calls `expire` once so many milliseconds have passed, unless what it gives back is called before. */
export type Deadlines = (millis: number, expire: () => void) => () => void

/** Whose limit passes: nothing else is known of it. */
interface Limit {
  /** In milliseconds of the clock. */
  readonly until: number
  expire: () => void
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
        limits.delete(limit)
        running--
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

  return (millis, expire) => {
    const now = clock.currentTimeMillisUnsafe()
    const limit: Limit = { until: now + millis, expire }
    let limits = byLength.get(millis)
    if (limits === undefined) {
      limits = new Set()
      byLength.set(millis, limits)
    }
    limits.add(limit)
    running++
    wakeAt(limit.until, now)
    return () => {
      if (!limits.delete(limit)) return
      // A table that the set outgrew may hold the limit until it is collected, and must not hold what it was for.
      limit.expire = nothing
      running--
      if (running > 0 || resting) return
      resting = true
      setTimeout(rest, IDLE).unref()
    }
  }
}
