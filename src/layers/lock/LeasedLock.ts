/**
 * A lock whose leases live in a shared store: taken with a token, renewed while their scope is open, released by it.
 *
 * Within a process the waiters queue in the order of arrival and only the first asks the store. It sleeps until a
 * release is announced, or until the lease in its way must have ended; it never polls.
 */
import { Clock, Duration, Effect, type Latch, Metric, Random, Scope } from "effect"
import { LockError, LockStoreError } from "../../schema/LockError.ts"
import { resourceNames } from "../../schema/Resource.ts"
import type { DistributedLock, Lease } from "../../services/DistributedLock.ts"
import { Ids } from "../../services/Ids.ts"
import { lockAcquisitionDuration } from "../../services/Metrics.ts"
import { type HeldLease, leaseOf, makeLeaseKeeper } from "./Leases.ts"
import { lockTimeout, makeTurns } from "./Turns.ts"
import { withLock } from "./WithLock.ts"

export type Taken =
  | { readonly _tag: "Taken"; readonly fence: number }
  /** For how many milliseconds the lease in the way lasts unless renewed, and its token. */
  | { readonly _tag: "Held"; readonly wait: number; readonly holder: string }

/** Where leases live. A question that was interrupted or failed may have been heard: a release follows it. */
export interface LeaseStore {
  /** All the resources or none. */
  readonly take: (resources: ReadonlyArray<string>, token: string) => Effect.Effect<Taken, unknown>
  readonly release: (resources: ReadonlyArray<string>, token: string) => Effect.Effect<void, unknown>
  /** Whether the lease is still the token's. */
  readonly renew: (resources: ReadonlyArray<string>, token: string) => Effect.Effect<boolean, unknown>
  /** A higher fence, at least `least`; undefined when the lease is not the token's. */
  readonly advance: (
    resources: ReadonlyArray<string>,
    token: string,
    least: number
  ) => Effect.Effect<number | undefined, unknown>
  /** A latch that opens when one of the resources may be free, for as long as the scope is open. */
  readonly waiting: (resources: ReadonlyArray<string>) => Effect.Effect<Latch.Latch, never, Scope.Scope>
}

export interface LeasedLockOptions {
  readonly lease: Duration.Duration
  readonly wait: Duration.Duration
}

export const storeError = (cause: unknown) => new LockError({ reason: new LockStoreError({ cause }) })
const released = (release: Effect.Effect<void, unknown>) =>
  Effect.catch(release, (error) => Effect.logWarning("a lease could not be released and will end by itself", error))

export const makeLeasedLock = Effect.fnUntraced(function* (
  store: LeaseStore,
  options: LeasedLockOptions
): Effect.fn.Return<DistributedLock["Service"], never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const background = yield* Effect.scope
  const limit = Duration.toMillis(options.wait)
  const turns = makeTurns()
  const keeper = yield* makeLeaseKeeper(options.lease, (lease) => store.renew(lease.resources, lease.token))

  /** A lease, or for how long it is another's. */
  const attempt = (resources: ReadonlyArray<string>): Effect.Effect<HeldLease | number, LockError, Scope.Scope> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const token = yield* (yield* Ids).next
        const release = released(store.release(resources, token))
        // Whatever became of the question, the token must not stay; but nobody waits for a store that does not answer.
        const forget = Effect.forkIn(Effect.uninterruptible(release), background, { startImmediately: true })
        const asked = clock.currentTimeMillisUnsafe()
        const answer = yield* Effect.onError(restore(store.take(resources, token)), () => forget)
        if (answer._tag === "Held") return answer.wait
        if (clock.currentTimeMillisUnsafe() >= keeper.deadline(asked)) {
          yield* forget
          return yield* Effect.fail(new Error("the answer came after the lease had ended"))
        }
        yield* Effect.addFinalizer(() => release)
        return yield* keeper.keep({ resources, token, fence: answer.fence }, asked)
      })
    ).pipe(Effect.mapError(storeError))

  const untilHeld = Effect.fnUntraced(function* (resources: ReadonlyArray<string>, start: number, latch: Latch.Latch) {
    while (true) {
      latch.closeUnsafe()
      const answer = yield* attempt(resources)
      if (typeof answer !== "number") return answer
      const left = start + limit - clock.currentTimeMillisUnsafe()
      if (left <= 0) return yield* lockTimeout(resources, Duration.millis(limit - left))
      // The holder may have died: its lease ends by itself. Jitter keeps processes from asking at the same moment.
      const jitter = yield* Random.nextIntBetween(1, 10)
      yield* Effect.timeoutOption(latch.await, Math.min(answer + jitter, left))
    }
  })

  const acquire = Effect.fnUntraced(function* (
    ...names: ReadonlyArray<string>
  ): Effect.fn.Return<Lease, LockError, Scope.Scope> {
    const resources = resourceNames(names)
    if (resources instanceof LockError) return yield* resources
    const start = clock.currentTimeMillisUnsafe()
    const giveUp = yield* turns.take(resources, options.wait)
    const scope = yield* Effect.scope
    const held = yield* Effect.scopedWith((waiting) =>
      Effect.flatMap(Scope.provide(store.waiting(resources), waiting), (latch) =>
        Scope.provide(untilHeld(resources, start, latch), scope)
      )
    ).pipe(Effect.onError(() => giveUp))
    yield* Metric.update(lockAcquisitionDuration, (clock.currentTimeMillisUnsafe() - start) / 1000)
    return leaseOf(held, clock, (atLeast) => Effect.mapError(store.advance(resources, held.token, atLeast), storeError))
  })

  return { acquire, withLock: withLock(acquire) }
})
