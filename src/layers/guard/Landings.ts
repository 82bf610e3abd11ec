/**
 * Requests of this process that wait for the same thing: once one of them has its result recorded, the others have it
 * at once, without asking and without taking the lock one after another.
 */
import type { Signal } from "../lock/Waiting.ts"

/** What is waited for: those of one `what` may have the very same result, which will be in the `record`. */
export interface Destination {
  readonly what: string
  readonly record: string
}

export interface Passenger<Found> extends Destination {
  readonly changed: Signal
  /** What was recorded while it waited. */
  found: Found | undefined
  /** Another process may have recorded it. */
  recorded: boolean
  /** It has not looked whether it is recorded: somebody else was at it. */
  relies: boolean
}

export interface Landings<Found, P extends Passenger<Found>> {
  readonly board: (passenger: P) => void
  /** Leaving twice is leaving once. */
  readonly leave: (passenger: P) => void
  readonly land: (at: Destination, found: Found) => void
  /** Whoever relied on somebody to have it looks himself: that one has learnt nothing. */
  readonly letDown: (at: Destination) => void
  /** Whether anybody waits for what may be recorded there. */
  readonly isAwaited: (at: Destination) => boolean
  /** One of these records was stored, or of any. */
  readonly wake: (records: ReadonlyArray<unknown> | undefined) => void
}

export const makeLandings = <Found, P extends Passenger<Found>>(): Landings<Found, P> => {
  /** By the record, so that an announcement costs the same however many wait for something else. */
  const aboard = new Map<unknown, Set<P>>()
  const look = (passenger: P) => {
    passenger.relies = false
    passenger.recorded = true
    passenger.changed.openUnsafe()
  }
  return {
    board: (passenger) => {
      const others = aboard.get(passenger.record)
      if (others === undefined) aboard.set(passenger.record, new Set([passenger]))
      else others.add(passenger)
    },
    leave: (passenger) => {
      const others = aboard.get(passenger.record)
      others?.delete(passenger)
      if (others?.size === 0) aboard.delete(passenger.record)
    },
    land: ({ record, what }, found) => {
      if (aboard.size === 0) return
      for (const passenger of aboard.get(record) ?? []) {
        if (passenger.what !== what) continue
        passenger.found = found
        passenger.changed.openUnsafe()
      }
    },
    letDown: ({ record, what }) => {
      for (const passenger of aboard.get(record) ?? []) if (passenger.what === what && passenger.relies) look(passenger)
    },
    isAwaited: ({ record, what }) => {
      if (aboard.size === 0) return false
      for (const passenger of aboard.get(record) ?? []) if (passenger.what === what) return true
      return false
    },
    wake: (records) => {
      for (const record of records ?? aboard.keys()) {
        for (const passenger of aboard.get(record) ?? []) look(passenger)
      }
    }
  }
}
