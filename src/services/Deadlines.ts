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

/**
 * Whose limit passes: nothing else is known of it. The rest is kept for the limits, while it is set: by links of its own,
 * since they are many and short, and a table of them would be hashed, grow, and hold what was over.
 */
export interface Limit {
  readonly expire: () => void
  /** In milliseconds of the clock. */
  until: number
  line: Line | undefined
  before: Limit | undefined
  after: Limit | undefined
}

/** Those that are equally long: what was set first passes first. */
export class Line {
  first: Limit | undefined = undefined
  private last: Limit | undefined = undefined

  add(limit: Limit): void {
    limit.line = this
    limit.before = this.last
    if (this.last === undefined) this.first = limit
    else this.last.after = limit
    this.last = limit
  }

  remove(limit: Limit): void {
    const { after, before } = limit
    if (before === undefined) this.first = after
    else before.after = after
    if (after === undefined) this.last = before
    else after.before = before
    limit.line = undefined
    limit.before = undefined
    limit.after = undefined
  }
}

/** For so many milliseconds a timer that nobody needs is kept; it is about real time, whatever the clock. */
const IDLE = 100

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
  const byLength = new Map<number, Line>()
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
    for (const [length, line] of byLength) {
      while (line.first !== undefined && line.first.until <= now) {
        const limit = line.first
        lower(limit, line)
        limit.expire()
      }
      if (line.first === undefined) byLength.delete(length)
      else next = Math.min(next, line.first.until)
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

  const lower = (limit: Limit, line: Line) => {
    line.remove(limit)
    running--
  }
  const set = (millis: number, limit: Limit) => {
    const now = clock.currentTimeMillisUnsafe()
    limit.until = now + millis
    let line = byLength.get(millis)
    if (line === undefined) {
      line = new Line()
      byLength.set(millis, line)
    }
    line.add(limit)
    running++
    wakeAt(limit.until, now)
  }
  const lift = (limit: Limit) => {
    if (limit.line === undefined) return
    lower(limit, limit.line)
    if (running > 0 || resting) return
    resting = true
    setTimeout(rest, IDLE).unref()
  }
  const deadline = (millis: number, expire: () => void) => {
    const limit = { expire, until: 0, line: undefined, before: undefined, after: undefined }
    set(millis, limit)
    return () => lift(limit)
  }
  return Object.assign(deadline, { set, lift })
}
