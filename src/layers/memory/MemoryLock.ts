/**
 * The lock within one process. A lease lasts as long as its scope: the process that would have to renew it is the one
 * that keeps it. Waiters are served in the order of arrival.
 */
import { Clock, Context, Duration, Effect, Layer, Scope } from "effect"
import { LockError } from "../../schema/LockError.ts"
import { resourceNames } from "../../schema/Resource.ts"
import { DistributedLock, type Instead, type Lease } from "../../services/DistributedLock.ts"
import { Ids } from "../../services/Ids.ts"
import { lockAcquisitionDuration } from "../../services/Metrics.ts"
import { makeFenceOnlyLock } from "../lock/FenceOnlyLock.ts"
import { lockLost } from "../lock/Leases.ts"
import { makePlaces } from "../lock/Places.ts"
import { type Queues, Waiter } from "../lock/Turns.ts"
import { withLock } from "../lock/WithLock.ts"

export interface MemoryLockOptions {
  /** How long to wait for a lease; 5 seconds unless said. */
  readonly wait?: Duration.Input
}

const LEASE = Duration.seconds(30)
const released = Effect.succeed(Duration.zero)
const untilReleased = Effect.succeed(LEASE)
const never = () => () => {}

/** Rises with every draw, and above the clock, so that it also rises over restarts. */
const makeFences = () => {
  const last = new Map<string, number>()
  return (resources: ReadonlyArray<string>, atLeast: number, now: number): number => {
    let fence = Math.max(atLeast, now * 1000)
    for (const resource of resources) fence = Math.max(fence, (last.get(resource) ?? 0) + 1)
    for (const resource of resources) last.set(resource, fence)
    return fence
  }
}

interface Store extends Queues {
  readonly draw: ReturnType<typeof makeFences>
}

class Held<A extends object, E> extends Waiter<Store, Lease, Scope.Scope, A, E> {
  private released = false

  protected taken(): Effect.Effect<Lease, never, Scope.Scope> {
    const lease = Effect.map(Context.get(this.context, Ids).next, (token) => this.lease(token))
    return Effect.flatMap(Effect.scope, (scope) =>
      Effect.flatMap(Scope.addFinalizer(scope, this.release()), () => lease)
    )
  }

  private release() {
    return Effect.sync(() => {
      this.released = true
      this.leave()
    })
  }

  private lease(token: string): Lease {
    const { context, resources } = this
    const now = this.now()
    const { draw, limit } = this.queues
    const waited = this.until === 0 ? 0 : now - (this.until - limit)
    lockAcquisitionDuration.updateUnsafe(waited / 1000, context)
    const fence = draw(resources, 0, now)
    return {
      resources,
      token,
      fence,
      exclusive: true,
      remaining: Effect.suspend(() => (this.released ? released : untilReleased)),
      lost: Effect.never,
      onLost: never,
      advance: (atLeast = 0) =>
        Effect.suspend(() =>
          this.released
            ? Effect.fail(lockLost({ resources, fence }))
            : Effect.succeed(draw(resources, atLeast, this.now()))
        )
    }
  }
}

const make = (options: MemoryLockOptions): DistributedLock["Service"] => {
  const limit = Duration.toMillis(Duration.fromInputUnsafe(options.wait ?? "5 seconds"))
  const store: Store = { places: makePlaces(), limit, draw: makeFences() }

  const take = <A extends object = never, E = never>(
    names: ReadonlyArray<string>,
    instead?: Instead<A, E>
  ): Effect.Effect<Lease | A, LockError | E, Scope.Scope> =>
    Effect.withFiber(({ context }): Effect.Effect<Lease | A, LockError | E, Scope.Scope> => {
      const resources = resourceNames(names)
      return resources instanceof LockError
        ? Effect.fail(resources)
        : new Held(store, resources, context, instead).turn()
    })

  const acquire = (...names: ReadonlyArray<string>) => take(names)
  return { acquire, acquireOr: take, withLock: withLock(acquire) }
}

export const layerWith = (options: MemoryLockOptions): Layer.Layer<DistributedLock> =>
  Layer.sync(DistributedLock, () => make(options))

export const layer: Layer.Layer<DistributedLock> = layerWith({})

/** With locking switched off: nobody waits, and fences are still issued. */
export const layerFenceOnly: Layer.Layer<DistributedLock> = Layer.sync(DistributedLock, () => {
  const draw = makeFences()
  return makeFenceOnlyLock(
    (resources, least) => Effect.map(Clock.currentTimeMillis, (now) => draw(resources, least, now)),
    LEASE
  )
})
