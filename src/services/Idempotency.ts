/**
 * What was already done, by key: a repeat gets the recorded result and nothing runs.
 *
 * A caller's key means "this request was served": while its record lives it replays, scoped to the saga's name
 * whatever the resource. A derived key means "this state was written": it replays only while no other saga has been
 * admitted to the resource since.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { DistributedLock, Idempotency, SagaMemory } from "effect-saga"
 *
 * const request = { saga: "Save", sagaId: "a", key: "k", derived: true, fingerprint: "f", resources: ["1"] }
 * const recorded = Effect.gen(function* () {
 *   const store = yield* Idempotency
 *   const lease = yield* (yield* DistributedLock).acquire("1")
 *   yield* store.begin(request, lease)
 *   yield* store.end(request, lease, { _tag: "Result", text: "saved" })
 *   const before = yield* store.lookup(request)
 *   // Another saga is admitted to the resource: what was derived from an older state is void.
 *   yield* store.begin({ ...request, sagaId: "b", key: "other" }, { ...lease, fence: yield* lease.advance() })
 *   return [before, yield* store.lookup(request)]
 * })
 * const results = await Effect.runPromise(Effect.scoped(recorded).pipe(Effect.provide(SagaMemory.layer)))
 * console.log(results) // [ 'saved', undefined ]
 * ```
 */
import { Context, type Effect } from "effect"
import type { IdempotencyError } from "../schema/IdempotencyError.ts"
import type { LockError } from "../schema/LockError.ts"
import type { Lease } from "./DistributedLock.ts"

export interface IdempotencyRequest {
  readonly saga: string
  readonly sagaId: string
  readonly key: string
  /** Derived from the payload, not given by the caller: void once another saga wrote the resource. */
  readonly derived: boolean
  /** Of the payload: two have the same exactly if they have the same canonical JSON (RFC 8785). */
  readonly fingerprint: string
  readonly resources: ReadonlyArray<string>
  /** False: neither look up nor record (the toggle `idempotency`); admission and open marks stay. */
  readonly replay?: boolean
  /** The saga keeps a journal: its open mark says so, for whoever finds it. */
  readonly journaled?: boolean
  /** The text of a derived record already found unreadable: it counts as absent. */
  readonly unreadable?: string
}

/** How a saga ended, for whoever repeats it. */
export type Ending =
  /** A result (or a failure that is to be repeated), as text. */
  | { readonly _tag: "Result"; readonly text: string }
  /** Succeeded, but its result was too large or not serialisable: only the fact is kept. */
  | { readonly _tag: "Served" }
  /** Nothing to record. */
  | { readonly _tag: "Nothing" }

/** A saga that was admitted to a resource and never ended: its owner is gone. */
export interface OpenMark {
  readonly saga: string
  readonly sagaId: string
  readonly fence: number
  readonly resources: ReadonlyArray<string>
  /** Its journal tells what it did; without one nobody knows. */
  readonly journaled: boolean
}

export type Begun =
  | { readonly _tag: "Replayed"; readonly result: string }
  | { readonly _tag: "Admitted"; readonly abandoned: ReadonlyArray<OpenMark> }

export class Idempotency extends Context.Service<
  Idempotency,
  {
    /** The recorded result, if a repeat may have it. */
    readonly lookup: (request: IdempotencyRequest) => Effect.Effect<string | undefined, IdempotencyError>
    /**
     * The second look, under the lock: the recorded result, or admission. Admission sets the writer mark of each
     * resource to the lease's fence, leaves an open mark, and reports the open marks it found (only an exclusive lease
     * makes those of dead owners). Repeating it for the same saga id and fence changes nothing. The marks it reported are
     * reported again, to the next as well, until a saga succeeds. `LockLost`: somebody with a higher fence was admitted
     * already, so the lease, though exclusive, has ended.
     */
    readonly begin: (request: IdempotencyRequest, lease: Lease) => Effect.Effect<Begun, IdempotencyError | LockError>
    /**
     * Closes the open mark and records the ending. Refused with `LockLost` when another was admitted since, or the marks
     * are gone: the writer mark is compared with the lease's fence in the same script. Idempotent per saga id. Of the
     * lease only the fence counts, so that another process can store the end of a saga whose owner is gone.
     */
    readonly end: (
      request: IdempotencyRequest,
      lease: Pick<Lease, "fence">,
      ending: Ending
    ) => Effect.Effect<void, IdempotencyError | LockError>
    /** Whether this very saga's ending is stored: for a reply that was lost. */
    readonly ended: (request: IdempotencyRequest) => Effect.Effect<boolean, IdempotencyError>
  }
>()("effect-saga/services/Idempotency") {}
