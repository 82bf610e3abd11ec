/** Time limits of the attempts of one saga: one timer serves them all, and is started for those that do not end at once. */
import { Clock, Context, Duration, Effect, Exit, type Fiber } from "effect"
import type { Erased } from "./Definition.ts"
import { stoppable } from "./Stoppable.ts"

export interface Watch {
  /** Interrupted when the limit has passed, and failed with what `expired` gives once it has ended. */
  readonly limit: (effect: Erased, limit: Duration.Duration, expired: () => unknown) => Erased
  /** More attempts follow: the timer may outlast those that run. Whoever says so says later that they are over. */
  readonly expectMore: (more: boolean) => void
}

interface Watched {
  /** By the clock, in milliseconds. */
  readonly until: number
  readonly expire: () => void
}

export const makeWatch = (context: Context.Context<never>): Watch => {
  const clock = Context.get(context, Clock.Clock)
  const fork = Effect.runForkWith(context)
  const running = new Set<Watched>()
  let more = false
  let timer: { readonly fiber: Fiber.Fiber<void>; readonly at: number } | undefined

  const stop = () => {
    timer?.fiber.interruptUnsafe()
    timer = undefined
  }
  const rest = () => {
    if (running.size === 0 && !more) stop()
  }
  const wakeAt = (at: number) => {
    if (at === Number.POSITIVE_INFINITY || (timer !== undefined && timer.at <= at)) return
    stop()
    const pause = Duration.millis(Math.max(1, at - clock.currentTimeMillisUnsafe()))
    timer = { fiber: fork(Effect.andThen(clock.sleep(pause), Effect.sync(look))), at }
  }
  const look = () => {
    timer = undefined
    const now = clock.currentTimeMillisUnsafe()
    let next = Number.POSITIVE_INFINITY
    for (const one of running) {
      if (one.until > now) next = Math.min(next, one.until)
      else one.expire()
    }
    wakeAt(next)
  }

  return {
    limit: (effect, limit, expired) =>
      stoppable(effect, (end) => {
        const until = clock.currentTimeMillisUnsafe() + Duration.toMillis(limit)
        const one: Watched = { until, expire: () => end(Exit.fail(expired())) }
        running.add(one)
        wakeAt(until)
        return () => {
          running.delete(one)
          rest()
        }
      }),
    expectMore: (expected) => {
      more = expected
      rest()
    }
  }
}
