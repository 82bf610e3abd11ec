/**
 * Requests of this process that wait for the same thing: once one of them has its result recorded, the others have it
 * at once, without asking and without taking the lock one after another.
 */
import type { Latch } from "effect"

export interface Passenger<Found> {
  readonly what: string
  /** Where the record will be. */
  readonly record: string
  readonly changed: Latch.Latch
  /** What was recorded while it waited. */
  found: Found | undefined
  /** Another process may have recorded it. */
  recorded: boolean
}

export interface Landings<Found, P extends Passenger<Found>> {
  readonly board: (passenger: P) => void
  /** Leaving twice is leaving once. */
  readonly leave: (passenger: P) => void
  readonly land: (what: string, found: Found) => void
  /** One of these records was stored, or of any. */
  readonly wake: (records: ReadonlyArray<unknown> | undefined) => void
}

export const makeLandings = <Found, P extends Passenger<Found>>(): Landings<Found, P> => {
  const aboard = new Map<string, Set<P>>()
  return {
    board: (passenger) => {
      const others = aboard.get(passenger.what)
      if (others === undefined) aboard.set(passenger.what, new Set([passenger]))
      else others.add(passenger)
    },
    leave: (passenger) => {
      const others = aboard.get(passenger.what)
      others?.delete(passenger)
      if (others?.size === 0) aboard.delete(passenger.what)
    },
    land: (what, found) => {
      for (const passenger of aboard.get(what) ?? []) {
        passenger.found = found
        passenger.changed.openUnsafe()
      }
    },
    wake: (records) => {
      for (const passengers of aboard.values()) {
        for (const passenger of passengers) {
          if (records !== undefined && !records.includes(passenger.record)) break
          passenger.recorded = true
          passenger.changed.openUnsafe()
        }
      }
    }
  }
}
