/**
 * Requests of this process that ask for the same thing at the same time: once one of them has its result recorded, the
 * others can have it at once instead of taking the lock one after another.
 */
import { Effect, Latch, Scope } from "effect"

export interface Boarded {
  /** Whether nobody asks for the same thing at the moment. */
  readonly alone: boolean
  /** Opens when a result may have been recorded. */
  readonly landed: Latch.Latch
  /** Tells the others that a result was recorded. */
  readonly land: Effect.Effect<void>
}

export interface Flights {
  /** Aboard until the scope closes. */
  readonly board: (what: string) => Effect.Effect<Boarded, never, Scope.Scope>
}

export const makeFlights = (): Flights => {
  const flights = new Map<string, Set<Latch.Latch>>()
  return {
    board: (what) =>
      Effect.uninterruptible(
        Effect.flatMap(Effect.scope, (scope) => {
          const flight = flights.get(what) ?? new Set<Latch.Latch>()
          flights.set(what, flight)
          const alone = flight.size === 0
          const landed = Latch.makeUnsafe(false)
          flight.add(landed)
          const land = Effect.sync(() => {
            for (const latch of flight) latch.openUnsafe()
          })
          const leave = Effect.sync(() => {
            flight.delete(landed)
            if (flight.size === 0) flights.delete(what)
          })
          return Effect.as(Scope.addFinalizer(scope, leave), { alone, landed, land })
        })
      )
  }
}
