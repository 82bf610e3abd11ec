/**
 * Requests of this process that ask for the same thing at the same time: once one of them has its result recorded, the
 * others can have it at once instead of taking the lock one after another.
 */
import { Latch } from "effect"

/** One request's seat. */
export interface Flight {
  /** Opens when a result may have been recorded. */
  readonly landed: Latch.Latch
  /** Tells the others that a result was recorded. */
  readonly land: () => void
  /** Leaving twice is leaving once. */
  readonly leave: () => void
}

export interface Flights {
  /** Whether nobody asks for it at the moment. */
  readonly isEmpty: (what: string) => boolean
  /** Whoever boards must leave. */
  readonly board: (what: string) => Flight
}

export const makeFlights = (): Flights => {
  const flights = new Map<string, Set<Latch.Latch>>()
  return {
    isEmpty: (what) => !flights.has(what),
    board: (what) => {
      const aboard = flights.get(what) ?? new Set<Latch.Latch>()
      flights.set(what, aboard)
      const landed = Latch.makeUnsafe(false)
      aboard.add(landed)
      return {
        landed,
        land: () => {
          for (const latch of aboard) latch.openUnsafe()
        },
        leave: () => {
          if (aboard.delete(landed) && aboard.size === 0) flights.delete(what)
        }
      }
    }
  }
}
