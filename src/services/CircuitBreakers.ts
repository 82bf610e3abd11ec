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
import { Context, type Effect, type Exit, type Stream } from "effect"
import type { CircuitBreaker } from "effect/persistence"

export interface BreakerStatistics {
  readonly dependency: string
  readonly state: CircuitBreaker.State
  readonly successes: number
  readonly failures: number
  readonly rejections: number
}

export interface ProtectOptions {
  /** Whether a typed error counts as a failure; every one does unless said. */
  readonly isFailure?: (error: unknown) => boolean
  /** False: a success counts as nothing. A read that works must not hide that the writes after it fail. */
  readonly countSuccess?: boolean
}

/** Is told how a call ended, and what that means where it is not plain; what is left to do about it, if anything. */
export type Told = (exit: Exit.Exit<unknown, unknown>, options?: ProtectOptions) => Effect.Effect<void> | undefined

export class CircuitBreakers extends Context.Service<
  CircuitBreakers,
  {
    /**
     * Runs the effect through the dependency's breaker. Defects count as failures, interruption counts as nothing, and
     * a typed error counts if `isFailure` says so (by default every one does).
     */
    readonly protect: (
      dependency: string,
      options?: ProtectOptions
    ) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CircuitBreaker.CircuitBreakerError, R>
    /**
     * The same without an effect around the call: where it surely may run now, whom to tell how it ended. Undefined, or
     * not there at all: only `protect` knows.
     */
    readonly unhindered?: (dependency: string) => Told | undefined
    readonly statistics: Effect.Effect<ReadonlyArray<BreakerStatistics>>
    /** Opens the breaker until `reset`. */
    readonly isolate: (dependency: string) => Effect.Effect<void>
    /** Closes the breaker and forgets its failures. */
    readonly reset: (dependency: string) => Effect.Effect<void>
    readonly transitions: Stream.Stream<CircuitBreaker.Transition>
  }
>()("effect-saga/services/CircuitBreakers") {}
