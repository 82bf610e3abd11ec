/** With locking switched off: nobody waits and nobody is kept out, and the same store still issues the fences. */
import { Clock, type Duration, Effect, Metric } from "effect"
import { LockError } from "../../schema/LockError.ts"
import { resourceNames } from "../../schema/Resource.ts"
import type { DistributedLock } from "../../services/DistributedLock.ts"
import { Ids } from "../../services/Ids.ts"
import { lockAcquisitionDuration } from "../../services/Metrics.ts"
import { storeError } from "./LeasedLock.ts"
import { withLock } from "./WithLock.ts"

/** `draw` gives a fence above all drawn before, and at least `least`. */
export const makeFenceOnlyLock = (
  draw: (resources: ReadonlyArray<string>, least: number) => Effect.Effect<number, unknown>,
  lease: Duration.Duration
): DistributedLock["Service"] => {
  const acquire: DistributedLock["Service"]["acquire"] = Effect.fnUntraced(function* (...names) {
    const resources = resourceNames(names)
    if (resources instanceof LockError) return yield* resources
    const next = (least: number) => Effect.mapError(draw(resources, least), storeError)
    const clock = yield* Clock.Clock
    const start = clock.currentTimeMillisUnsafe()
    const token = yield* (yield* Ids).next
    const fence = yield* next(0)
    yield* Metric.update(lockAcquisitionDuration, (clock.currentTimeMillisUnsafe() - start) / 1000)
    return {
      resources,
      token,
      fence,
      exclusive: false,
      // There is nothing that could end.
      remaining: Effect.succeed(lease),
      lost: Effect.never,
      onLost: () => () => {},
      advance: (atLeast = 0) => next(atLeast)
    }
  })
  return { acquire, withLock: withLock(acquire) }
}
