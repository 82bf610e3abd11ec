/** The order of arrival within one process: who came first is served first, and only he asks a shared store. */
import { Clock, Duration, Effect, Latch, type Scope } from "effect"
import { LockError, LockTimeout } from "../../schema/LockError.ts"

/** In the queue of each of its resources until it leaves; its turn is when it is the first in all of them. */
interface Waiter {
  readonly resources: ReadonlyArray<string>
  readonly turn: Latch.Latch
}

export interface Turns {
  /**
   * The turn for all the resources, until the scope closes or the effect it gives is run; `LockTimeout` when the wait
   * limit has passed.
   */
  readonly take: (
    resources: ReadonlyArray<string>,
    wait: Duration.Duration
  ) => Effect.Effect<Effect.Effect<void>, LockError, Scope.Scope>
}

export const lockTimeout = (resources: ReadonlyArray<string>, waited: Duration.Duration) =>
  new LockError({ reason: new LockTimeout({ resource: resources.join(", "), waited }) })

export const makeTurns = (): Turns => {
  const queues = new Map<string, Set<Waiter>>()

  const first = (resource: string) => queues.get(resource)?.values().next().value
  const isFirst = (waiter: Waiter) => waiter.resources.every((resource) => first(resource) === waiter)
  const join = (resources: ReadonlyArray<string>): Waiter => {
    const waiter: Waiter = { resources, turn: Latch.makeUnsafe(false) }
    for (const resource of resources) queues.set(resource, (queues.get(resource) ?? new Set()).add(waiter))
    return waiter
  }
  const leave = (waiter: Waiter) => {
    for (const resource of waiter.resources) {
      const queue = queues.get(resource)
      queue?.delete(waiter)
      if (queue?.size === 0) queues.delete(resource)
    }
    for (const resource of waiter.resources) {
      const next = first(resource)
      if (next !== undefined && isFirst(next)) next.turn.openUnsafe()
    }
  }

  return {
    take: Effect.fnUntraced(function* (resources, wait) {
      const waiter = yield* Effect.acquireRelease(
        Effect.sync(() => join(resources)),
        (one) => Effect.sync(() => leave(one))
      )
      const giveUp = Effect.sync(() => leave(waiter))
      if (isFirst(waiter)) return giveUp
      const clock = yield* Clock.Clock
      const since = clock.currentTimeMillisUnsafe()
      const waiting = Effect.timeoutOrElse(waiter.turn.await, {
        duration: wait,
        orElse: () => Effect.fail(lockTimeout(resources, Duration.millis(clock.currentTimeMillisUnsafe() - since)))
      })
      // Whoever gives up must stand in nobody's way, though his scope may stay open.
      yield* Effect.onError(waiting, () => giveUp)
      return giveUp
    })
  }
}
