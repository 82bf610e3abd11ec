/**
 * The lock within one process. A lease lasts as long as its scope: the process that would have to renew it is the one
 * that keeps it. Waiters are served in the order of arrival.
 */
import { Clock, Duration, Effect, Latch, Layer, Metric, Scope } from "effect"
import { LockError } from "../../schema/LockError.ts"
import { resourceNames } from "../../schema/Resource.ts"
import { DistributedLock, type Lease } from "../../services/DistributedLock.ts"
import { Ids } from "../../services/Ids.ts"
import { lockAcquisitionDuration } from "../../services/Metrics.ts"
import { makeFenceOnlyLock } from "../lock/FenceOnlyLock.ts"
import { lockLost } from "../lock/Leases.ts"
import { makePlaces, type Place } from "../lock/Places.ts"
import { untilFirst } from "../lock/Turns.ts"
import { withLock } from "../lock/WithLock.ts"

export interface MemoryLockOptions {
  /** How long to wait for a lease; 5 seconds unless said. */
  readonly wait?: Duration.Input
}

interface Held extends Place {
  released: boolean
}

const LEASE = Duration.seconds(30)

/** Rises with every draw, and above the clock, so that it also rises over restarts. */
const makeFences = () => {
  const last = new Map<string, number>()
  return (resources: ReadonlyArray<string>, atLeast: number): Effect.Effect<number> =>
    Effect.map(Clock.Clock, (clock) => {
      let fence = Math.max(atLeast, clock.currentTimeMillisUnsafe() * 1000)
      for (const resource of resources) fence = Math.max(fence, (last.get(resource) ?? 0) + 1)
      for (const resource of resources) last.set(resource, fence)
      return fence
    })
}

const make = (options: MemoryLockOptions): DistributedLock["Service"] => {
  const wait = Duration.fromInputUnsafe(options.wait ?? "5 seconds")
  const draw = makeFences()
  const places = makePlaces<Held>()

  const hold = (resources: ReadonlyArray<string>, scope: Scope.Scope) =>
    Effect.uninterruptibleMask((restore) => {
      const held: Held = { resources, changed: Latch.makeUnsafe(false), released: false }
      places.join(held)
      const release = Effect.sync(() => {
        held.released = true
        places.leave(held)
      })
      const waiting = restore(untilFirst(places, held, wait))
      return Effect.andThen(Scope.addFinalizer(scope, release), Effect.as(waiting, held))
    })

  const acquire = Effect.fnUntraced(function* (
    ...names: ReadonlyArray<string>
  ): Effect.fn.Return<Lease, LockError, Scope.Scope> {
    const resources = resourceNames(names)
    if (resources instanceof LockError) return yield* resources
    const clock = yield* Clock.Clock
    const start = clock.currentTimeMillisUnsafe()
    const held = yield* hold(resources, yield* Effect.scope)
    const fence = yield* draw(resources, 0)
    yield* Metric.update(lockAcquisitionDuration, (clock.currentTimeMillisUnsafe() - start) / 1000)
    return {
      resources,
      token: yield* (yield* Ids).next,
      fence,
      exclusive: true,
      remaining: Effect.sync(() => (held.released ? Duration.zero : LEASE)),
      lost: Effect.never,
      onLost: () => () => {},
      advance: (atLeast = 0) =>
        Effect.suspend(() => (held.released ? Effect.fail(lockLost({ resources, fence })) : draw(resources, atLeast)))
    }
  })
  return { acquire, withLock: withLock(acquire) }
}

export const layerWith = (options: MemoryLockOptions): Layer.Layer<DistributedLock> =>
  Layer.sync(DistributedLock, () => make(options))

export const layer: Layer.Layer<DistributedLock> = layerWith({})

/** With locking switched off: nobody waits, and fences are still issued. */
export const layerFenceOnly: Layer.Layer<DistributedLock> = Layer.sync(DistributedLock, () =>
  makeFenceOnlyLock(makeFences(), LEASE)
)
