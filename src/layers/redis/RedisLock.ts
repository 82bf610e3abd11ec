/**
 * The lock on one Redis: a token per holder, released by compare-and-delete, renewed while its scope is open.
 *
 * **Details**
 *
 * Within a process the waiters queue in the order of arrival and only the first asks Redis. It sleeps until a release
 * is published, or until the holder's lease must have ended; it never polls. Resources of several cluster nodes are
 * taken node by node in order, and all released when one cannot be had.
 *
 * **Gotchas**
 *
 * A process that is stopped for longer than the lease learns of its loss only when it goes on. Stores must refuse its
 * writes by the fence.
 */
import { Clock, Deferred, Duration, Effect, Latch, Layer, Metric, Queue, Random, Schedule, Scope } from "effect"
import * as Redis from "effect/persistence/Redis"
import { bucket } from "../../schema/Digest.ts"
import { LockError, LockStoreError } from "../../schema/LockError.ts"
import { resourceNames } from "../../schema/Resource.ts"
import { DistributedLock, type Lease } from "../../services/DistributedLock.ts"
import { Ids } from "../../services/Ids.ts"
import { lockAcquisitionDuration } from "../../services/Metrics.ts"
import { lockLost, makeLeaseKeeper } from "../lock/Leases.ts"
import { lockTimeout, makeTurns } from "../lock/Turns.ts"
import { RELEASED } from "./RedisKeys.ts"
import * as Scripts from "./RedisLockScripts.ts"

export interface RedisLockOptions {
  /** How long a lease lives unless renewed; 30 seconds unless said. */
  readonly lease?: Duration.Input
  /** How long to wait for one; 5 seconds unless said. */
  readonly wait?: Duration.Input
}

const storeError = (cause: unknown) => new LockError({ reason: new LockStoreError({ cause }) })

/** Those that wait for a release, by resource. */
const makeSleepers = Effect.gen(function* () {
  const redis = yield* Redis.Redis
  const sleeping = new Map<string, Set<Latch.Latch>>()
  const wake = (resource: string) => {
    for (const latch of sleeping.get(resource) ?? []) latch.openUnsafe()
  }
  const listen = Effect.scoped(
    Effect.gen(function* () {
      const released = yield* redis.subscribe(RELEASED)
      // What was published before this subscription is lost.
      for (const resource of sleeping.keys()) wake(resource)
      while (true) {
        const { message } = yield* Queue.take(released)
        for (const resource of message === "" ? [...sleeping.keys()] : message.split("\n")) wake(resource)
      }
    })
  )
  const ready = yield* Latch.make(false)
  yield* Effect.andThen(ready.open, listen).pipe(
    Effect.retry(Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("1 second")])),
    Effect.forkScoped({ startImmediately: true })
  )
  /** A latch that opens at the next release of any of the resources, for as long as the scope is open. */
  return (resources: ReadonlyArray<string>) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const latch = Latch.makeUnsafe(false)
        for (const resource of resources) {
          const latches = sleeping.get(resource) ?? new Set()
          sleeping.set(resource, latches.add(latch))
        }
        return latch
      }),
      (latch) =>
        Effect.sync(() => {
          for (const resource of resources) {
            const latches = sleeping.get(resource)
            latches?.delete(latch)
            if (latches?.size === 0) sleeping.delete(resource)
          }
        })
    )
})

const byBucket = (resources: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> => {
  if (resources.length === 1) return [resources]
  const groups = Map.groupBy(resources, bucket)
  return [...groups].sort(([a], [b]) => a - b).map(([, group]) => group)
}

const make = Effect.fnUntraced(function* (
  options: RedisLockOptions,
  exclusive: boolean
): Effect.fn.Return<DistributedLock["Service"], never, Redis.Redis | Scope.Scope> {
  const redis = yield* Redis.Redis
  const clock = yield* Clock.Clock
  const leaseFor = Duration.toMillis(Duration.fromInputUnsafe(options.lease ?? "30 seconds"))
  const waitFor = Duration.toMillis(Duration.fromInputUnsafe(options.wait ?? "5 seconds"))
  const only = exclusive ? 1 : 0
  const turns = makeTurns()
  const sleepers = exclusive ? yield* makeSleepers : undefined
  const keeper = yield* makeLeaseKeeper(Duration.millis(leaseFor), (lease) =>
    exclusive
      ? Effect.map(
          Effect.forEach(byBucket(lease.resources), (group) => redis.eval(Scripts.renew)(group, lease.token, leaseFor)),
          (kept) => kept.every((one) => one === 1)
        )
      : Effect.succeed(true)
  )

  const releaseAll = (groups: ReadonlyArray<ReadonlyArray<string>>, token: string) =>
    Effect.forEach(groups, (group) => redis.eval(Scripts.release)(group, token, RELEASED), { discard: true }).pipe(
      Effect.catch((error) => Effect.logWarning("a lease could not be released and will end by itself", error))
    )
  const draw = (groups: ReadonlyArray<ReadonlyArray<string>>, token: string, least: number) =>
    Effect.gen(function* () {
      let fence = least
      // The second round writes the maximum of all groups to each of them.
      const rounds = groups.length === 1 ? 1 : 2
      for (let round = 0; round < rounds; round++) {
        for (const group of groups) {
          const drawn = yield* redis.eval(Scripts.advance)(group, token, fence, only)
          if (drawn === "") return undefined
          fence = Math.max(fence, Number(drawn))
        }
      }
      return fence
    })

  /** All groups with one fence, or how long the holder in the way may still hold. */
  const ask = Effect.fnUntraced(function* (groups: ReadonlyArray<ReadonlyArray<string>>, token: string) {
    let fence = 0
    for (const [index, group] of groups.entries()) {
      const [got, text] = yield* redis.eval(Scripts.acquire)(group, token, leaseFor, fence, only)
      if (got === 0) {
        yield* releaseAll(groups.slice(0, index), token)
        return { fence: undefined, wait: Number(text) }
      }
      fence = Math.max(fence, Number(text))
    }
    if (groups.length > 1) fence = (yield* draw(groups, token, fence)) ?? fence
    return { fence, wait: 0 }
  })

  const acquire = Effect.fnUntraced(function* (
    ...names: ReadonlyArray<string>
  ): Effect.fn.Return<Lease, LockError, Scope.Scope> {
    const resources = resourceNames(names)
    if (resources instanceof LockError) return yield* resources
    const start = clock.currentTimeMillisUnsafe()
    const until = start + waitFor
    const groups = byBucket(resources)
    const token = yield* (yield* Ids).next
    if (exclusive) yield* turns.take(resources, Duration.millis(waitFor))

    const attempt = Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const asked = clock.currentTimeMillisUnsafe()
        // Whatever became of the question, the token must not stay.
        const answer = yield* Effect.onError(restore(ask(groups, token)), () => releaseAll(groups, token))
        if (answer.fence === undefined) return answer.wait
        if (exclusive) yield* Effect.addFinalizer(() => releaseAll(groups, token))
        if (clock.currentTimeMillisUnsafe() >= keeper.deadline(asked)) {
          return yield* Effect.fail(new Error("the answer came after the lease had ended"))
        }
        return yield* keeper.keep({ resources, token, fence: answer.fence }, asked)
      })
    ).pipe(Effect.mapError(storeError))

    const wait = Effect.fnUntraced(function* (latch: Latch.Latch) {
      while (true) {
        latch.closeUnsafe()
        const answer = yield* attempt
        if (typeof answer !== "number") return answer
        const left = until - clock.currentTimeMillisUnsafe()
        if (left <= 0) return yield* lockTimeout(resources, Duration.millis(waitFor - left))
        // The holder may have died: its lease ends by itself. Jitter keeps processes from asking at the same moment.
        const jitter = yield* Random.nextIntBetween(1, 10)
        yield* Effect.timeoutOption(latch.await, Math.min(answer + jitter, left))
      }
    })
    const first = sleepers === undefined ? yield* attempt : 0
    const held =
      typeof first !== "number" || sleepers === undefined
        ? first
        : yield* Effect.scopedWith((waiting) => Effect.flatMap(Scope.provide(sleepers(resources), waiting), wait))
    if (typeof held === "number") return yield* storeError(new Error("fences could not be drawn"))
    yield* Metric.update(lockAcquisitionDuration, (clock.currentTimeMillisUnsafe() - start) / 1000)
    return {
      resources,
      token,
      fence: held.fence,
      exclusive,
      remaining: Effect.sync(() => Duration.millis(Math.max(0, held.deadline - clock.currentTimeMillisUnsafe()))),
      lost: Deferred.await(held.lost),
      advance: (atLeast = 0) =>
        Effect.flatMap(Effect.mapError(draw(groups, token, atLeast), storeError), (fence) =>
          fence === undefined ? Effect.fail(lockLost(held)) : Effect.succeed(fence)
        )
    }
  })

  return {
    acquire,
    withLock:
      (...names) =>
      (use) =>
        Effect.scoped(
          Effect.flatMap(acquire(...names), (lease) =>
            lease.exclusive ? Effect.raceFirst(use(lease), lease.lost) : use(lease)
          )
        )
  }
})

export const layerWith = (options: RedisLockOptions): Layer.Layer<DistributedLock, never, Redis.Redis> =>
  Layer.effect(DistributedLock, make(options, true))

export const layer: Layer.Layer<DistributedLock, never, Redis.Redis> = layerWith({})

/** With locking switched off: nobody waits, and fences are still issued. */
export const layerFenceOnly: Layer.Layer<DistributedLock, never, Redis.Redis> = Layer.effect(
  DistributedLock,
  make({}, false)
)
