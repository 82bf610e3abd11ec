/** A timer that is waited for by whoever needs it, and rings all the same if nobody does and the program goes on. */
import { Clock, Context, Duration, Effect, Scheduler } from "effect"

export interface Alarm {
  /** In milliseconds of its clock. */
  readonly at: number
  /** The program goes on until it rings, as it does from the start. */
  readonly hold: () => void
  /** The program may end before it rings; false where only `stop` brings that about. */
  readonly release: () => boolean
  readonly stop: () => void
}

/** `now` is the time of the clock, all in milliseconds. It may ring early. */
export type SetAlarm = (at: number, now: number, ring: () => void) => Alarm

/** What the engine takes for a time; it rings then, and who set it looks at the clock and sets it anew. */
const LONGEST = 2 ** 31 - 1

/** Of real time: the engine's own, since Effect's keeps the program alive for as long as it is set. */
class Timer implements Alarm {
  declare readonly at: number
  declare private readonly timeout: NodeJS.Timeout

  constructor(at: number, millis: number, ring: () => void) {
    this.at = at
    this.timeout = setTimeout(ring, millis)
  }

  hold(): void {
    this.timeout.ref()
  }
  release(): boolean {
    this.timeout.unref()
    return true
  }
  stop(): void {
    clearTimeout(this.timeout)
  }
}

const live = Context.get(Context.empty(), Clock.Clock)

/** Of the clock in this context. */
export const alarmsIn = (context: Context.Context<never>): SetAlarm => {
  const clock = Context.get(context, Clock.Clock)
  if (clock === live) return (at, now, ring) => new Timer(at, Math.min(Math.max(1, at - now), LONGEST), ring)
  const fork = Effect.runForkWith(Context.make(Scheduler.Scheduler, Context.get(context, Scheduler.Scheduler)))
  return (at, now, ring) => {
    const pause = Duration.millis(Math.max(1, at - now))
    const fiber = fork(Effect.andThen(clock.sleep(pause), Effect.sync(ring)))
    return { at, hold: () => {}, release: () => false, stop: () => fiber.interruptUnsafe() }
  }
}
