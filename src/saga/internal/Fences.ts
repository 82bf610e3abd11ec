/** Where undoing gets its fences from, and the lock to do it under. */
import { Effect, Schedule, Scope } from "effect"
import type { LockError } from "../../schema/LockError.ts"
import type { DistributedLock, Lease } from "../../services/DistributedLock.ts"
import type { Root } from "./Frame.ts"

const isOfStore = (error: LockError) => error.reason._tag === "LockStoreError"
const brief = Schedule.exponential("50 millis").pipe(Schedule.upTo({ duration: "5 seconds" }))
const again = { schedule: brief, while: isOfStore }

/** From the lease, asked again when its store does not answer. */
export const advance = (lease: Lease, atLeast: number): Effect.Effect<number, LockError> => {
  const fence = lease.advance(atLeast)
  return Effect.catch(fence, (error) => (isOfStore(error) ? Effect.retry(fence, again) : Effect.fail(error)))
}

/**
 * From the lease while it is ours; when it is lost or its store cannot be asked, from a lock taken anew and held until
 * the execution ends. To be called when it is to be drawn, and run once.
 */
export const fenceSource = (
  lock: DistributedLock["Service"],
  first: Lease,
  resources: ReadonlyArray<string>,
  scope: () => Scope.Scope
): Root["freshFence"] => {
  let lease = first
  return (atLeast) => {
    const reserved = lease.reserved?.(atLeast)
    if (reserved !== undefined) return Effect.succeed(reserved)
    return Effect.catch(advance(lease, atLeast), (error) => {
      if (lease !== first) return Effect.fail(error)
      return Effect.flatMap(Scope.provide(lock.acquire(...resources), scope()), (anew) => {
        lease = anew
        return anew.fence >= atLeast ? Effect.succeed(anew.fence) : anew.advance(atLeast)
      })
    })
  }
}
