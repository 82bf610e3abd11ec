/** Waiting no longer than a limit, whatever hangs. */
import { type Duration, Effect, Exit, Fiber, Option } from "effect"

/**
 * `Effect.timeout` waits until what it gave up on has been interrupted, and interrupting a statement waits for the
 * server. Here it goes on by itself, and is told to stop; so it may still come about.
 */
export const bounded = <A, E>(effect: Effect.Effect<A, E>, limit: Duration.Input): Effect.Effect<A, E | Error> =>
  Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (fiber) => {
    const abandon = Effect.sync(() => fiber.interruptUnsafe())
    return Effect.onInterrupt(Effect.timeoutOption(Fiber.await(fiber), limit), () => abandon).pipe(
      Effect.flatMap(
        Option.match({
          onNone: (): Effect.Effect<Exit.Exit<A, E | Error>> =>
            Effect.as(abandon, Exit.fail(new Error("it did not answer in time"))),
          onSome: (exit) => Effect.succeed(exit)
        })
      ),
      Effect.flatten
    )
  })
