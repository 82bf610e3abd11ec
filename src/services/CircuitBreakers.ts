/**
 * One circuit breaker per dependency (database), each with its own policy.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { CircuitBreakers, SagaMemory } from "effect-saga"
 *
 * const asked = Effect.gen(function* () {
 *   const protect = (yield* CircuitBreakers).protect("redis")
 *   for (let i = 0; i < 3; i++) yield* Effect.flip(protect(Effect.fail("down")))
 *   return yield* Effect.flip(protect(Effect.die("it is not asked any more")))
 * })
 * const error = await Effect.runPromise(Effect.provide(asked, SagaMemory.layer))
 * console.log(error.reason._tag) // CircuitOpen
 * ```
 */
import { Context, type Effect, type Stream } from "effect"
import type { CircuitBreaker } from "effect/persistence"

export interface BreakerStatistics {
  readonly dependency: string
  readonly state: CircuitBreaker.State
  readonly successes: number
  readonly failures: number
  readonly rejections: number
}

export class CircuitBreakers extends Context.Service<
  CircuitBreakers,
  {
    /**
     * Runs the effect through the dependency's breaker. Defects count as failures, interruption counts as nothing, and
     * a typed error counts if `isFailure` says so (by default every one does).
     */
    readonly protect: (
      dependency: string,
      options?: {
        readonly isFailure?: (error: unknown) => boolean
        /** False: a success counts as nothing. A read that works must not hide that the writes after it fail. */
        readonly countSuccess?: boolean
      }
    ) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CircuitBreaker.CircuitBreakerError, R>
    readonly statistics: Effect.Effect<ReadonlyArray<BreakerStatistics>>
    /** Opens the breaker until `reset`. */
    readonly isolate: (dependency: string) => Effect.Effect<void>
    /** Closes the breaker and forgets its failures. */
    readonly reset: (dependency: string) => Effect.Effect<void>
    readonly transitions: Stream.Stream<CircuitBreaker.Transition>
  }
>()("effect-saga/services/CircuitBreakers") {}
