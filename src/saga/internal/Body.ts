/** Running a saga's program: until it ends, its lease is lost, or its time is up before its point of no return. */
import { Context, Duration, Effect, Exit } from "effect"
import type { LockError } from "../../schema/LockError.ts"
import { SagaTimeout } from "../../schema/SagaError.ts"
import type { Lease } from "../../services/DistributedLock.ts"
import type { Frame, Root } from "./Frame.ts"
import { whenIdle } from "./Idle.ts"
import type { SagaDefinition } from "./Request.ts"
import { Running } from "./Running.ts"
import { Stoppable } from "./Stoppable.ts"

/**
 * Everything that `run` began has ended when `then` goes on with its end; uninterruptible but for `restore`. `context` is
 * what `run` and its steps see.
 */
export const runBody = <A, E, R>(
  saga: SagaDefinition,
  payload: unknown,
  frame: Frame,
  lease: Lease,
  context: Context.Context<never>,
  restore: <B, E2, R2>(effect: Effect.Effect<B, E2, R2>) => Effect.Effect<B, E2, R2>,
  then: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const { root } = frame
  const contending = new Contending(saga, payload, frame, lease, context).running
  const over = (exit: Exit.Exit<unknown, unknown>) => {
    root.closed = exit._tag === "Failure"
    // From here on none starts. One that is interrupted may let another end.
    if (root.closed || root.aborted !== undefined) {
      for (const call of [...root.running]) if (root.running.includes(call)) call.fiber.interruptUnsafe()
    }
    const end = () => {
      root.closed = true
      return then(exit)
    }
    // A step forked off by `run` counts as long as it runs.
    return root.running.length === 0 ? end() : Effect.flatMap(whenIdle(root), end)
  }
  return Effect.matchCauseEffect(restore(contending), {
    onFailure: (cause) => over(Exit.failCause(cause)),
    onSuccess: (value) => over(Exit.succeed(value))
  })
}

class Contending extends Stoppable {
  declare private readonly saga: SagaDefinition
  declare private readonly payload: unknown
  declare private readonly root: Root
  declare private readonly lease: Lease
  declare private readonly outer: Context.Context<never>
  declare private ignore: (() => void) | undefined
  declare private lift: (() => void) | undefined

  constructor(saga: SagaDefinition, payload: unknown, frame: Frame, lease: Lease, outer: Context.Context<never>) {
    super(Context.add(outer, Running, frame))
    this.saga = saga
    this.payload = payload
    this.root = frame.root
    this.lease = lease
    this.outer = outer
    this.ignore = undefined
    this.lift = undefined
  }

  protected override body() {
    return this.saga.run(this.payload)
  }
  protected override watch() {
    const { lease, outer, root, saga } = this
    if (lease.exclusive) this.ignore = whenLost(lease, outer, (end) => this.stop(end))
    const limit = saga.timeout
    // Its own time limit counts before its point of no return.
    if (limit === undefined) return
    this.lift = root.deadlines(Duration.toMillis(limit), () => {
      if (!root.pivoted) this.stop(Exit.fail(new SagaTimeout({ saga: saga.name, after: limit })))
    })
  }
  protected override unwatch() {
    this.ignore?.()
    this.lift?.()
  }
}

/** Tells once, until what it gives back is called. */
export const whenLost = (
  lease: Lease,
  context: Context.Context<never>,
  tell: (end: Exit.Exit<never, LockError>) => void
): (() => void) => {
  if (lease.onLost !== undefined) return lease.onLost((error) => tell(Exit.fail(error)))
  const fiber = Effect.runForkWith(context)(lease.lost)
  const ignore = fiber.addObserver(tell)
  return () => {
    ignore()
    fiber.interruptUnsafe()
  }
}
