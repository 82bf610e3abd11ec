/** Who waits for what within one process, in the order of arrival: its turn is when it is the first in all its queues. */
import type { Latch } from "effect"

export interface Place {
  readonly resources: ReadonlyArray<string>
  /** Opened when there may be something to do: it is the first now, or whoever opens it says why. */
  readonly changed: Latch.Latch
}

export interface Places<P extends Place> {
  readonly join: (place: P) => void
  readonly isFirst: (place: P) => boolean
  /** Leaving twice is leaving once. */
  readonly leave: (place: P) => void
  /** Whoever is first in the queue of one of the resources, or of any, looks again. */
  readonly wake: (resources: Iterable<unknown> | undefined) => void
}

export const makePlaces = <P extends Place>(): Places<P> => {
  const queues = new Map<unknown, Set<P>>()
  const first = (resource: unknown) => queues.get(resource)?.values().next().value
  const isFirst = (place: P) => {
    for (const resource of place.resources) if (first(resource) !== place) return false
    return true
  }
  return {
    isFirst,
    join: (place) => {
      for (const resource of place.resources) {
        const queue = queues.get(resource)
        if (queue === undefined) queues.set(resource, new Set([place]))
        else queue.add(place)
      }
    },
    leave: (place) => {
      let was = false
      for (const resource of place.resources) {
        const queue = queues.get(resource)
        if (queue?.delete(place)) was = true
        if (queue?.size === 0) queues.delete(resource)
      }
      if (!was) return
      for (const resource of place.resources) {
        const next = first(resource)
        if (next !== undefined && isFirst(next)) next.changed.openUnsafe()
      }
    },
    wake: (resources) => {
      for (const resource of resources ?? queues.keys()) first(resource)?.changed.openUnsafe()
    }
  }
}
