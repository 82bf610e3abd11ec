/** Running a saga's program: until it ends, its lease is lost, or its time is up before its point of no return. */
import { type Context, Effect, Exit, Fiber } from "effect"
import { SagaTimeout } from "../../schema/SagaError.ts"
import type { Lease } from "../../services/DistributedLock.ts"
import type { Erased } from "./Definition.ts"
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

const atOnce = { startImmediately: true } as const

const contend = (saga: SagaDefinition, payload: unknown, frame: Frame, lease: Lease): Erased => {
  const body = Effect.provideService(
    Effect.suspend(() => saga.run(payload)),
    Running,
    frame
  )
  const limit = saga.timeout
  const stops: Array<Erased> = []
  if (lease.exclusive && lease.onLost === undefined) stops.push(lease.lost)
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
  return Effect.flatMap(
    Effect.forkChild(body, atOnce),
    (fiber) => fiber.pollUnsafe() ?? unlessStopped(fiber, stops, lease.exclusive ? lease.onLost : undefined)
  )
}

/** Whatever stops it, the body has ended when this does. */
const unlessStopped = (
  body: Fiber.Fiber<unknown, unknown>,
  stops: ReadonlyArray<Erased>,
  onLost: Lease["onLost"]
): Erased =>
  Effect.contextWith((context: Context.Context<never>) =>
    Effect.callback<unknown, unknown>((resume) => {
      let stopped: Exit.Exit<unknown, unknown> | undefined
      const stop = (exit: Exit.Exit<unknown, unknown>) => {
        stopped ??= exit
        body.interruptUnsafe()
      }
      const fibers = stops.map((one) => Effect.runForkWith(context)(one))
      for (const fiber of fibers) fiber.addObserver(stop)
      const ignore = onLost?.((error) => stop(Exit.fail(error)))
      body.addObserver((exit) => {
        const end = stopped ?? exit
        ignore?.()
        for (const fiber of fibers) fiber.interruptUnsafe()
        resume(end)
      })
      return Effect.asVoid(Fiber.interrupt(body))
    })
  )
