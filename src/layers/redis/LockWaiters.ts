/** Those that wait for a release, woken by Redis' pub/sub: one subscription per lock and Redis, however many wait. */
import { Effect, Latch, Queue, Schedule, type Scope } from "effect"
import type * as Redis from "effect/persistence/Redis"
import { RELEASED } from "./RedisKeys.ts"

export interface LockWaiters {
  /** A latch that opens at the next release of any of the resources, for as long as the scope is open. */
  readonly waiting: (resources: ReadonlyArray<string>) => Effect.Effect<Latch.Latch, never, Scope.Scope>
  /** Listens to one Redis for as long as it runs. */
  readonly listen: (redis: Redis.Redis["Service"]) => Effect.Effect<never>
}

const again = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("1 second")])

/** The resources that a message tells to be free; undefined if it may concern any. */
const announced = (message: string): ReadonlyArray<unknown> | undefined => {
  try {
    const names: unknown = JSON.parse(message)
    return Array.isArray(names) ? names : undefined
  } catch {
    return undefined
  }
}

/** Tells which resources were released, or that it may be any, for as long as it runs. */
export const listening = (
  redis: Redis.Redis["Service"],
  wake: (resources: ReadonlyArray<unknown> | undefined) => void
): Effect.Effect<never> =>
  Effect.scoped(
    Effect.gen(function* () {
      const messages = yield* redis.subscribe(RELEASED)
      // What was announced while nobody listened is lost: whoever waits asks again.
      wake(undefined)
      while (true) {
        const { message } = yield* Queue.take(messages)
        wake(announced(message))
      }
    })
  ).pipe(Effect.retry(again), Effect.orDie)

export const makeLockWaiters = (): LockWaiters => {
  const latches = new Map<unknown, Set<Latch.Latch>>()
  const wake = (resources: Iterable<unknown>) => {
    for (const resource of resources) {
      for (const latch of latches.get(resource) ?? []) latch.openUnsafe()
    }
  }
  return {
    waiting: (resources) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const latch = Latch.makeUnsafe(false)
          for (const resource of resources) latches.set(resource, (latches.get(resource) ?? new Set()).add(latch))
          return latch
        }),
        (latch) =>
          Effect.sync(() => {
            for (const resource of resources) {
              const others = latches.get(resource)
              others?.delete(latch)
              if (others?.size === 0) latches.delete(resource)
            }
          })
      ),
    listen: (redis) => listening(redis, (resources) => wake(resources ?? latches.keys()))
  }
}
