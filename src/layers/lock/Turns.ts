/** The order of arrival within one process: who came first is served first, and only he asks a shared store. */
import { Clock, Duration, Effect, Latch, Scope } from "effect"
import { LockError, LockTimeout } from "../../schema/LockError.ts"
import { makePlaces, type Place, type Places } from "./Places.ts"

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

/** `LockTimeout`, and the place given up, when the wait limit has passed. */
export const untilFirst = <P extends Place>(
  { isFirst, leave }: Places<P>,
  place: P,
  limit: Duration.Duration
): Effect.Effect<void, LockError> => {
  if (isFirst(place)) return Effect.void
  return Effect.flatMap(Clock.Clock, (clock) => {
    const since = clock.currentTimeMillisUnsafe()
    const waiting = Effect.timeoutOrElse(place.changed.await, {
      duration: limit,
      orElse: () => Effect.fail(lockTimeout(place.resources, Duration.millis(clock.currentTimeMillisUnsafe() - since)))
    })
    // Whoever gives up must stand in nobody's way, though his scope may stay open.
    return Effect.onError(waiting, () => Effect.sync(() => leave(place)))
  })
}

export const makeTurns = (): Turns => {
  const places = makePlaces<Place>()
  return {
    take: (resources, wait) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Effect.scope, (scope) => {
          const place: Place = { resources, changed: Latch.makeUnsafe(false) }
          places.join(place)
          const giveUp = Effect.sync(() => places.leave(place))
          const waiting = restore(untilFirst(places, place, wait))
          return Effect.andThen(Scope.addFinalizer(scope, giveUp), Effect.as(waiting, giveUp))
        })
      )
  }
}
