/** Running a saga's program: until it ends, its lease is lost, or its time is up before its point of no return. */
import { type Context, Effect, Exit } from "effect"
import { SagaTimeout } from "../../schema/SagaError.ts"
import type { Lease } from "../../services/DistributedLock.ts"
import type { Erased } from "./Definition.ts"
import type { Frame } from "./Frame.ts"
import { whenIdle } from "./Idle.ts"
import type { SagaDefinition } from "./Request.ts"
import { Running } from "./Running.ts"
import { stoppable } from "./Stoppable.ts"

/** Everything that `run` began has ended when this does; uninterruptible but for `restore`. */
export const runBody = Effect.fnUntraced(function* (
  saga: SagaDefinition,
  payload: unknown,
  frame: Frame,
  lease: Lease,
  restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
): Effect.fn.Return<Exit.Exit<unknown, unknown>> {
  const { root } = frame
  root.watch.expectMore(true)
  const exit = yield* Effect.exit(restore(contend(saga, payload, frame, lease)))
  if (exit._tag === "Failure" || root.aborted !== undefined) {
    for (const fiber of root.running.values()) fiber.interruptUnsafe()
  }
  root.closed = exit._tag === "Failure"
  // A step forked off by `run` counts as long as it runs.
  yield* whenIdle(root)
  root.watch.expectMore(false)
  root.closed = true
  return exit
})

/** Until it ends, the lease is lost, or its time is up before the point of no return. */
const contend = (saga: SagaDefinition, payload: unknown, frame: Frame, lease: Lease): Erased => {
  const body = Effect.provideService(
    Effect.suspend(() => saga.run(payload)),
    Running,
    frame
  )
  const limit = saga.timeout
  const onLost = lease.exclusive ? lease.onLost : undefined
  const stops: Array<Effect.Effect<never, unknown>> = []
  if (lease.exclusive && onLost === undefined) stops.push(lease.lost)
  if (limit !== undefined) {
    stops.push(
      Effect.andThen(
        Effect.sleep(limit),
        Effect.suspend(() =>
          frame.root.pivoted ? Effect.never : Effect.fail(new SagaTimeout({ saga: saga.name, after: limit }))
        )
      )
    )
  }
  return Effect.contextWith((context: Context.Context<never>) =>
    stoppable(body, (stop) => {
      const fibers = stops.map((one) => Effect.runForkWith(context)(one))
      for (const fiber of fibers) fiber.addObserver(stop)
      const ignore = onLost?.((error) => stop(Exit.fail(error)))
      return () => {
        ignore?.()
        for (const fiber of fibers) fiber.interruptUnsafe()
      }
    })
  )
}
