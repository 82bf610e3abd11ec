/**
 * Time limits of the attempts of one saga. Each attempt runs in a fiber of its own, so that it can be stopped alone; one
 * timer serves them all, and it is started only for an attempt that does not end at once.
 */
import { Clock, Context, Duration, Effect, Fiber } from "effect"
import type { Erased } from "./Definition.ts"

export interface Watch {
  /** Interrupted when the limit has passed, and failed with what `expired` gives once it has ended. */
  readonly limit: (effect: Erased, limit: Duration.Duration, expired: () => unknown) => Erased
  /** More attempts follow: the timer may outlast those that run. Whoever says so says later that they are over. */
  readonly expectMore: (more: boolean) => void
}

interface Watched {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  /** By the clock, in milliseconds. */
  readonly until: number
  expired: boolean
}

const atOnce = { startImmediately: true } as const

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
      else if (!one.expired) {
        one.expired = true
        one.fiber.interruptUnsafe()
      }
    }
    wakeAt(next)
  }
  const watch = (fiber: Fiber.Fiber<unknown, unknown>, limit: Duration.Duration, expired: () => unknown): Erased =>
    Effect.callback<unknown, unknown>((resume) => {
      const one: Watched = { fiber, until: clock.currentTimeMillisUnsafe() + Duration.toMillis(limit), expired: false }
      running.add(one)
      wakeAt(one.until)
      fiber.addObserver((exit) => {
        running.delete(one)
        if (running.size === 0 && !more) stop()
        resume(one.expired ? Effect.fail(expired()) : exit)
      })
      return Effect.asVoid(Fiber.interrupt(fiber))
    })

  return {
    limit: (effect, limit, expired) =>
      Effect.flatMap(Effect.forkChild(effect, atOnce), (fiber) => fiber.pollUnsafe() ?? watch(fiber, limit, expired)),
    expectMore: (expected) => {
      more = expected
      if (running.size === 0 && !more) stop()
    }
  }
}
