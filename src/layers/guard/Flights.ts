/**
 * Requests of this process that ask for the same thing at the same time: once one of them has its result recorded, the
 * others can have it at once instead of taking the lock one after another.
 */
import { Effect, Latch, type Scope } from "effect"

interface Flight {
  aboard: number
  readonly waiting: Set<Latch.Latch>
}

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
  const flights = new Map<string, Flight>()
  return {
    board: (what) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const flight = flights.get(what) ?? { aboard: 0, waiting: new Set() }
          flights.set(what, flight)
          const landed = Latch.makeUnsafe(false)
          flight.aboard++
          flight.waiting.add(landed)
          const land = Effect.sync(() => {
            for (const latch of flight.waiting) latch.openUnsafe()
          })
          return { alone: flight.aboard === 1, landed, land }
        }),
        ({ landed }) =>
          Effect.sync(() => {
            const flight = flights.get(what)
            if (flight === undefined) return
            flight.waiting.delete(landed)
            if (--flight.aboard === 0) flights.delete(what)
          })
      )
  }
}
