/** The order of arrival within one process: who came first is served first, and only he asks a shared store. */
import { Clock, Duration, Effect, Latch, type Scope } from "effect"
import { LockError, LockTimeout } from "../../schema/LockError.ts"

interface Waiter {
  readonly resources: ReadonlyArray<string>
  readonly granted: Latch.Latch
  holds: boolean
}

export interface Turns {
  /** The turn for all the resources, until the scope closes; `LockTimeout` when the wait limit has passed. */
  readonly take: (
    resources: ReadonlyArray<string>,
    wait: Duration.Duration
  ) => Effect.Effect<void, LockError, Scope.Scope>
  /** Whether somebody waits behind the one whose turn it is. */
  readonly contended: (resources: ReadonlyArray<string>) => boolean
}

export const lockTimeout = (resources: ReadonlyArray<string>, waited: Duration.Duration) =>
  new LockError({ reason: new LockTimeout({ resource: resources.join(", "), waited }) })

export const makeTurns = (): Turns => {
  const held = new Set<string>()
  const waiters = new Set<Waiter>()

  /** Nobody is overtaken for any resource he wants, even while another of his is held. */
  const grant = () => {
    const taken = new Set(held)
    for (const waiter of waiters) {
      if (waiter.resources.every((resource) => !taken.has(resource))) {
        for (const resource of waiter.resources) held.add(resource)
        waiters.delete(waiter)
        waiter.holds = true
        waiter.granted.openUnsafe()
      }
      for (const resource of waiter.resources) taken.add(resource)
    }
  }
  const leave = (waiter: Waiter) =>
    Effect.sync(() => {
      if (waiter.holds) for (const resource of waiter.resources) held.delete(resource)
      waiter.holds = false
      waiters.delete(waiter)
      if (waiters.size > 0) grant()
    })

  return {
    take: Effect.fnUntraced(function* (resources, wait) {
      const waiter: Waiter = { resources, granted: Latch.makeUnsafe(false), holds: false }
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          waiters.add(waiter)
          grant()
        }),
        () => leave(waiter)
      )
      if (waiter.holds) return
      const clock = yield* Clock.Clock
      const since = clock.currentTimeMillisUnsafe()
      const waiting = Effect.timeoutOrElse(waiter.granted.await, {
        duration: wait,
        orElse: () => Effect.fail(lockTimeout(resources, Duration.millis(clock.currentTimeMillisUnsafe() - since)))
      })
      // Whoever gives up must not be granted anything afterwards.
      yield* Effect.onError(waiting, () => leave(waiter))
    }),
    contended: (resources) => {
      for (const waiter of waiters) {
        if (waiter.resources.some((resource) => resources.includes(resource))) return true
      }
      return false
    }
  }
}
