/** Running a saga's program: until it ends, its lease is lost, or its time is up before its point of no return. */
import { Effect, type Exit } from "effect"
import { SagaTimeout } from "../../schema/SagaError.ts"
import type { Lease } from "../../services/DistributedLock.ts"
import type { Frame } from "./Frame.ts"
import { whenIdle } from "./Idle.ts"
import type { SagaDefinition } from "./Request.ts"
import { Running } from "./Running.ts"

/** Everything that `run` began has ended when this does; uninterruptible but for `restore`. */
export const runBody = Effect.fnUntraced(function* (
  saga: SagaDefinition,
  payload: unknown,
  frame: Frame,
  lease: Lease,
  restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
): Effect.fn.Return<Exit.Exit<unknown, unknown>> {
  const { root } = frame
  const exit = yield* Effect.exit(restore(contend(saga, payload, frame, lease)))
  if (exit._tag === "Failure" || root.aborted !== undefined) {
    for (const fiber of root.running.values()) fiber.interruptUnsafe()
  }
  root.closed = exit._tag === "Failure"
  // A step forked off by `run` counts as long as it runs.
  yield* whenIdle(root)
  root.closed = true
  return exit
})

const contend = (
  saga: SagaDefinition,
  payload: unknown,
  frame: Frame,
  lease: Lease
): Effect.Effect<unknown, unknown> => {
  const body = Effect.provideService(
    Effect.suspend(() => saga.run(payload)),
    Running,
    frame
  )
  const limit = saga.timeout
  const contenders: Array<Effect.Effect<unknown, unknown>> = [body]
  if (lease.exclusive) contenders.push(lease.lost)
  if (limit !== undefined) {
    contenders.push(
      Effect.andThen(
        Effect.sleep(limit),
        Effect.suspend(() =>
          frame.root.pivoted ? Effect.never : Effect.fail(new SagaTimeout({ saga: saga.name, after: limit }))
        )
      )
    )
  }
  return contenders.length === 1 ? body : Effect.raceAllFirst(contenders)
}
