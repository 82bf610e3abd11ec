/** Who waits for what within one process, in the order of arrival: its turn is when it is the first in all its queues. */
import type { Latch } from "effect"
import { makeLines } from "./Lines.ts"
import type { Signal } from "./Waiting.ts"

export interface Place<S extends Signal = Latch.Latch> {
  readonly resources: ReadonlyArray<string>
  /** Opened when there may be something to do: it is the first now, or whoever opens it says why. */
  readonly changed: S
}

export interface Places<P extends Place<Signal>> {
  /** Whether nobody waits for any of them. */
  readonly isFree: (resources: ReadonlyArray<string>) => boolean
  /** Whether it is its turn. */
  readonly join: (place: P) => boolean
  readonly isFirst: (place: P) => boolean
  /** Who stands first in the queue of this one resource. */
  readonly head: (resource: string) => P | undefined
  /** Leaving twice is leaving once. */
  readonly leave: (place: P) => void
  /** Whoever is first in the queue of one of the resources, or of any, looks again. */
  readonly wake: (resources: Iterable<unknown> | undefined) => void
}

export const makePlaces = <P extends Place<Signal> = Place>(): Places<P> => {
  const queues = makeLines<P>()
  const isFirst = (place: P) => {
    for (const resource of place.resources) if (queues.first(resource) !== place) return false
    return true
  }
  return {
    isFirst,
    head: queues.first,
    isFree: (resources) => {
      for (const resource of resources) if (queues.first(resource) !== undefined) return false
      return true
    },
    join: (place) => {
      let first = true
      for (const resource of place.resources) first = queues.add(resource, place) && first
      return first
    },
    leave: (place) => {
      let isAwaited = false
      for (const resource of place.resources) isAwaited = (queues.remove(resource, place) ?? 0) > 0 || isAwaited
      if (!isAwaited) return
      for (const resource of place.resources) {
        const next = queues.first(resource)
        if (next !== undefined && isFirst(next)) next.changed.openUnsafe()
      }
    },
    wake: (resources) => {
      for (const resource of resources ?? queues.names()) queues.first(resource)?.changed.openUnsafe()
    }
  }
}
