/** A lock server of virtual time: leases end by the clock, and a process that is gone leaves its lease behind. */
import { Clock, Duration, Effect, Latch } from "effect"
import type { LeaseStore } from "../layers/lock/LeasedLock.ts"

export interface LeaseTable {
  readonly store: LeaseStore
  /** Somebody else's mistake: the leases are gone, and their holders do not know. */
  readonly revoke: () => void
}

export const makeLeaseTable = (lease: Duration.Duration): LeaseTable => {
  const leases = new Map<string, { readonly token: string; readonly expires: number }>()
  const fences = new Map<string, number>()
  const waiting = new Set<Latch.Latch>()
  const millis = Duration.toMillis(lease)
  const wake = () => {
    for (const latch of waiting) latch.openUnsafe()
  }
  const now = Clock.clockWith((clock) => Effect.sync(() => clock.currentTimeMillisUnsafe()))
  const holder = (resource: string, at: number) => {
    const held = leases.get(resource)
    return held === undefined || held.expires <= at ? undefined : held
  }
  const holds = (resources: ReadonlyArray<string>, token: string, at: number) =>
    resources.every((resource) => holder(resource, at)?.token === token)
  const draw = (resources: ReadonlyArray<string>, least: number, at: number) => {
    const fence = Math.max(least, at * 1000, ...resources.map((resource) => (fences.get(resource) ?? 0) + 1))
    for (const resource of resources) fences.set(resource, fence)
    return fence
  }
  return {
    revoke: () => {
      leases.clear()
      wake()
    },
    store: {
      take: (resources, token) =>
        Effect.map(now, (at) => {
          for (const resource of resources) {
            const held = holder(resource, at)
            if (held !== undefined && held.token !== token) {
              return { _tag: "Held", wait: held.expires - at, holder: held.token }
            }
          }
          for (const resource of resources) leases.set(resource, { token, expires: at + millis })
          return { _tag: "Taken", fence: draw(resources, 0, at) }
        }),
      release: (resources, token) =>
        Effect.sync(() => {
          for (const resource of resources) if (leases.get(resource)?.token === token) leases.delete(resource)
          wake()
        }),
      renew: (resources, token) =>
        Effect.map(now, (at) => {
          if (!holds(resources, token, at)) return false
          for (const resource of resources) leases.set(resource, { token, expires: at + millis })
          return true
        }),
      advance: (resources, token, least) =>
        Effect.map(now, (at) => (holds(resources, token, at) ? draw(resources, least, at) : undefined)),
      waiting: () =>
        Effect.acquireRelease(
          Effect.sync(() => {
            const latch = Latch.makeUnsafe(false)
            waiting.add(latch)
            return latch
          }),
          (latch) => Effect.sync(() => void waiting.delete(latch))
        )
    }
  }
}
