/**
 * Sole ownership of named resources across processes, as a lease that is renewed while its scope is open.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { DistributedLock, SagaMemory } from "effect-saga"
 *
 * const alone = Effect.flatMap(DistributedLock, (lock) =>
 *   lock.withLock("document 1", "document 2")((lease) => Effect.succeed(lease.resources))
 * )
 * console.log(await Effect.runPromise(Effect.provide(alone, SagaMemory.layer))) // [ 'document 1', 'document 2' ]
 * ```
 */
import { Context, type Duration, type Effect, type Scope } from "effect"
import type { LockError } from "../schema/LockError.ts"

export interface Lease {
  /** Sorted, without repeats. */
  readonly resources: ReadonlyArray<string>
  /** Of this holder: unguessable, never used twice. */
  readonly token: string
  /** Rises with every lease of a resource, whatever Redis forgot: a store refuses a write below its floor. */
  readonly fence: number
  /** False with locking switched off: others may be at work on the resources. */
  readonly exclusive: boolean
  /** Until the local deadline (drift subtracted); zero once it has passed or the lease is lost. */
  readonly remaining: Effect.Effect<Duration.Duration>
  /** Fails once the lease is lost; never succeeds. */
  readonly lost: Effect.Effect<never, LockError>
  /** The same without a fiber that waits for it: calls the listener once, until what it gives back is called. */
  readonly onLost?: ((listener: (error: LockError) => void) => () => void) | undefined
  /**
   * A fence above every one drawn for the resources so far, and at least `atLeast`; undoing begins with it, so that a
   * write of the same saga that lands late is refused. Fails with `LockLost` when another holds the lease.
   */
  readonly advance: (atLeast?: number) => Effect.Effect<number, LockError>
  /**
   * The same without asking, where a fence was set aside with the lease: once, and only while the lease is surely held.
   * Undefined: `advance` tells.
   */
  readonly reserved?: ((atLeast: number) => number | undefined) | undefined
}

/** What may come instead of a lease while one waits for it, such as the result that it is wanted for. */
export interface Instead<A extends object, E> {
  /** Called if there is anything to wait for: `told` is to be called whenever `look` may find something. */
  readonly listen: (listener: Listener) => void
  /** The wait has ended, whatever came of it. */
  readonly stop: (listener: Listener) => void
  readonly look: () => Effect.Effect<A | undefined, E>
}
export interface Listener {
  readonly told: () => void
}

export class DistributedLock extends Context.Service<
  DistributedLock,
  {
    /** Held until the scope closes; several resources are taken in sorted order, all or none. */
    readonly acquire: (...resources: ReadonlyArray<string>) => Effect.Effect<Lease, LockError, Scope.Scope>
    /**
     * The same for who may get something else while it waits: then the place in the queue is left. Of a lock that does
     * not have it everybody waits for his turn.
     */
    readonly acquireOr?:
      | (<A extends object, E>(
          resources: ReadonlyArray<string>,
          instead: Instead<A, E>
        ) => Effect.Effect<Lease | A, LockError | E, Scope.Scope>)
      | undefined
    /** Runs `use` under the lease, interrupting it when the lease is lost. */
    readonly withLock: (
      ...resources: ReadonlyArray<string>
    ) => <A, E, R>(use: (lease: Lease) => Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockError, R>
  }
>()("effect-saga/services/DistributedLock") {}
