/**
 * A lock whose leases live in a shared store: taken with a token, renewed while their scope is open, released by it.
 *
 * Within a process the waiters queue in the order of arrival and only the first asks the store. It sleeps until a
 * release is announced, or until the lease in its way must have ended; it never polls.
 */
import { Clock, Duration, Effect, Exit, type Latch, Metric, Random, Scope } from "effect"
import { LockError, LockStoreError } from "../../schema/LockError.ts"
import { resourceNames } from "../../schema/Resource.ts"
import type { DistributedLock, Instead, Lease, Listener } from "../../services/DistributedLock.ts"
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

/** What the first in the queue sleeps for. */
class Changed implements Listener {
  readonly latch: Latch.Latch
  listens = false
  news = false

  constructor(latch: Latch.Latch) {
    this.latch = latch
  }

  told(): void {
    this.news = true
    this.latch.openUnsafe()
  }
}

export const makeLeasedLock = Effect.fnUntraced(function* (
  store: LeaseStore,
  options: LeasedLockOptions
): Effect.fn.Return<DistributedLock["Service"], never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const background = yield* Effect.scope
  const limit = Duration.toMillis(options.wait)
  const turns = makeTurns(limit)
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

  const untilHeld = Effect.fnUntraced(function* <A extends object, E>(
    resources: ReadonlyArray<string>,
    start: number,
    changed: Changed,
    instead: Instead<A, E> | undefined
  ) {
    while (true) {
      changed.latch.closeUnsafe()
      if (changed.news && instead !== undefined) {
        changed.news = false
        const found = yield* instead.look()
        if (found !== undefined) return found
      }
      const answer = yield* attempt(resources)
      if (typeof answer !== "number") return leased(answer)
      const left = start + limit - clock.currentTimeMillisUnsafe()
      if (left <= 0) return yield* lockTimeout(resources, Duration.millis(limit - left))
      if (!changed.listens) instead?.listen(changed)
      changed.listens = true
      // The holder may have died: its lease ends by itself. Jitter keeps processes from asking at the same moment.
      const jitter = yield* Random.nextIntBetween(1, 10)
      yield* Effect.timeoutOption(changed.latch.await, Math.min(answer + jitter, left))
    }
  })

  const leased = (held: HeldLease) =>
    leaseOf(held, clock, (atLeast) => Effect.mapError(store.advance(held.resources, held.token, atLeast), storeError))

  const take = Effect.fnUntraced(function* <A extends object = never, E = never>(
    names: ReadonlyArray<string>,
    instead?: Instead<A, E>
  ): Effect.fn.Return<Lease | A, LockError | E, Scope.Scope> {
    const resources = resourceNames(names)
    if (resources instanceof LockError) return yield* resources
    const start = clock.currentTimeMillisUnsafe()
    const turn = yield* turns.take(resources, instead)
    if (!("giveUp" in turn)) return turn
    const scope = yield* Effect.scope
    const taken = yield* Effect.scopedWith((waiting) =>
      Effect.flatMap(Scope.provide(store.waiting(resources), waiting), (latch) => {
        const changed = new Changed(latch)
        const held = Scope.provide(untilHeld(resources, start, changed, instead), scope)
        return Effect.ensuring(
          held,
          Effect.sync(() => instead?.stop(changed))
        )
      })
    ).pipe(Effect.onExit((exit) => (Exit.isSuccess(exit) && "token" in exit.value ? Effect.void : turn.giveUp)))
    if ("token" in taken)
      yield* Metric.update(lockAcquisitionDuration, (clock.currentTimeMillisUnsafe() - start) / 1000)
    return taken
  })

  const acquire = (...names: ReadonlyArray<string>) => take(names)
  return { acquire, acquireOr: take, withLock: withLock(acquire) }
})
