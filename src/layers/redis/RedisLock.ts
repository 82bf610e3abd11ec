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
 *
 * **Example**
 *
 * ```ts
 * import { Duration, Effect, Layer } from "effect"
 * import { DistributedLock, IoRedis, RedisLock } from "effect-saga"
 *
 * const impatient = RedisLock.layerWith({ wait: "100 millis" }).pipe(Layer.provide(IoRedis.layerConfig))
 * const twice = Effect.gen(function* () {
 *   const lock = yield* DistributedLock
 *   const lease = yield* lock.acquire("document 7")
 *   const error = yield* Effect.flip(lock.acquire("document 7"))
 *   return [Duration.toSeconds(yield* lease.remaining) > 20, error.reason._tag]
 * })
 * console.log(await Effect.runPromise(Effect.scoped(twice).pipe(Effect.provide(impatient)))) // [ true, 'LockTimeout' ]
 * ```
 */
import { Duration, Effect, Layer } from "effect"
import * as Redis from "effect/persistence/Redis"
import { DistributedLock } from "../../services/DistributedLock.ts"
import { makeFenceOnlyLock } from "../lock/FenceOnlyLock.ts"
import { makeLeasedLock } from "../lock/LeasedLock.ts"
import { makeLockNode } from "./LockNode.ts"
import { makeLockWaiters } from "./LockWaiters.ts"

export interface RedisLockOptions {
  /** How long a lease lives unless renewed; 30 seconds unless said. */
  readonly lease?: Duration.Input
  /** How long to wait for one; 5 seconds unless said. */
  readonly wait?: Duration.Input
}

export const LEASE = Duration.seconds(30)
export const WAIT = Duration.seconds(5)
/** An answer that comes after the lease has ended is worth nothing; and nobody should wait longer than this for one. */
export const answerWithin = (lease: Duration.Duration) => Duration.min(lease, Duration.seconds(5))

const make = Effect.fnUntraced(function* (options: RedisLockOptions) {
  const redis = yield* Redis.Redis
  const lease = Duration.fromInputUnsafe(options.lease ?? LEASE)
  const { listen, waiting } = makeLockWaiters()
  const scope = yield* Effect.scope
  // Whoever never asks for a lock, as where the fused guard does, needs no connection to be woken by.
  const listening = yield* Effect.cached(Effect.forkIn(listen(redis), scope, { startImmediately: true }))
  return yield* makeLeasedLock(
    {
      ...makeLockNode(redis, { lease, answerWithin: answerWithin(lease) }),
      waiting: (names) => Effect.andThen(listening, waiting(names))
    },
    { lease, wait: Duration.fromInputUnsafe(options.wait ?? WAIT) }
  )
})

export const layerWith = (options: RedisLockOptions): Layer.Layer<DistributedLock, never, Redis.Redis> =>
  Layer.effect(DistributedLock, make(options))

export const layer: Layer.Layer<DistributedLock, never, Redis.Redis> = layerWith({})

/** With locking switched off: nobody waits, and fences are still issued. */
export const layerFenceOnly: Layer.Layer<DistributedLock, never, Redis.Redis> = Layer.effect(
  DistributedLock,
  Effect.map(Redis.Redis, (redis) => {
    const { advance } = makeLockNode(redis, { lease: LEASE, answerWithin: answerWithin(LEASE) })
    const draw = Effect.fnUntraced(function* (resources: ReadonlyArray<string>, least: number) {
      return (yield* advance(resources, "", least)) ?? least
    })
    return makeFenceOnlyLock(draw, LEASE)
  })
)
