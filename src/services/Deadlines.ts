/**
 * Time limits of whatever runs or waits: all of one clock share one timer, so that a limit costs next to nothing however
 * many there are, and the clock of a test turns them all.
 */
import { Clock, Context } from "effect"
import { type Alarm, alarmsIn, type SetAlarm } from "./Alarm.ts"

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

/** After so many milliseconds it is looked whether anybody needs the timer: of real time, whatever the clock. */
const IDLE = 100

/** Lines are kept while they are so few, since mostly the next limits are as long as those before. */
const FEW = 16

const byClock = new WeakMap<Clock.Clock, Deadlines>()

/** By the clock of this context: a test's own, or the one of the whole program. */
export const deadlinesIn = (context: Context.Context<never>): Deadlines => {
  const clock = Context.get(context, Clock.Clock)
  const known = byClock.get(clock)
  if (known !== undefined) return known
  const deadlines = makeDeadlines(clock, alarmsIn(context))
  byClock.set(clock, deadlines)
  return deadlines
}

const makeDeadlines = (clock: Clock.Clock, setAlarm: SetAlarm): Deadlines => {
  const byLength = new Map<number, Line>()
  let alarm: Alarm | undefined
  let running = 0
  /** Nobody needs the alarm, and the program may end before it rings. */
  let isReleased = false
  /** It is about to be looked whether anybody needs it. */
  let isResting = false
  let resting: NodeJS.Timeout | undefined

  const wakeAt = (at: number, now: number) => {
    if (at === Number.POSITIVE_INFINITY || (alarm !== undefined && alarm.at <= at)) return
    alarm?.stop()
    isReleased = false
    alarm = setAlarm(at, now, look)
  }
  const look = () => {
    alarm = undefined
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
    wakeAt(next, now)
    // One that has been called off may have been set by one that passed.
    if (running === 0 && alarm !== undefined) restSoon()
  }
  const restSoon = () => {
    if (isResting) return
    isResting = true
    if (resting === undefined) resting = setTimeout(rest, IDLE).unref()
    else resting.refresh()
  }
  /** The alarm would keep the program alive for nothing; but mostly the next limit follows, and needs it again. */
  const rest = () => {
    isResting = false
    if (running > 0 || alarm === undefined) return
    if (byLength.size > FEW) byLength.clear()
    isReleased = alarm.release()
    if (isReleased) return
    alarm.stop()
    alarm = undefined
  }

  const needAgain = (now: number) => {
    isReleased = false
    if (alarm === undefined) return
    // A clock that was put forward may be past it, while the timer, which knows nothing of that, is far from ringing.
    if (alarm.at > now) return alarm.hold()
    alarm.stop()
    alarm = undefined
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
    if (isReleased) needAgain(now)
    wakeAt(limit.until, now)
  }
  const lift = (limit: Limit) => {
    if (limit.line === undefined) return
    lower(limit, limit.line)
    if (running === 0) restSoon()
  }
  const deadline = (millis: number, expire: () => void) => {
    const limit = { expire, until: 0, line: undefined, before: undefined, after: undefined }
    set(millis, limit)
    return () => lift(limit)
  }
  return Object.assign(deadline, { set, lift })
}
