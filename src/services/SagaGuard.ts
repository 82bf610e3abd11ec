/**
 * Lock and idempotency as one admission.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SagaGuard, SagaMemory } from "effect-saga"
 *
 * const enter = (sagaId: string) =>
 *   Effect.gen(function* () {
 *     const request = { saga: "Save", sagaId, key: "k", derived: false, fingerprint: "f", resources: ["1"] }
 *     const admission = yield* (yield* SagaGuard).enter(request)
 *     if (admission._tag === "Admitted") yield* admission.commit({ _tag: "Result", text: "saved" })
 *     return admission._tag
 *   })
 * const two = Effect.all([Effect.scoped(enter("first")), Effect.scoped(enter("second"))])
 * console.log(await Effect.runPromise(Effect.provide(two, SagaMemory.layer))) // [ 'Admitted', 'Replayed' ]
 * ```
 */
import { Context, type Effect, type Scope } from "effect"
import type { IdempotencyError } from "../schema/IdempotencyError.ts"
import type { LockError } from "../schema/LockError.ts"
import type { OutcomeUnknown } from "../schema/SagaError.ts"
import type { Lease } from "./DistributedLock.ts"
import type { Ending, IdempotencyRequest, OpenMark } from "./Idempotency.ts"

/** A recorded result. */
export interface Replayed {
  readonly _tag: "Replayed"
  readonly result: string
}

/** A recorded result, or sole ownership of the resources until the scope closes. */
export type Admission =
  | Replayed
  | {
      readonly _tag: "Admitted"
      readonly lease: Lease
      /** Sagas found open on the resources whose owner is gone. */
      readonly abandoned: ReadonlyArray<OpenMark>
      /**
       * Compares the owner and stores the ending, in one step; then the saga has ended. Succeeds with whether a repeat
       * will be served from it. `LockLost`: refused, another owns the resource. `OutcomeUnknown`: the reply was lost and
       * could not be read back.
       */
      readonly commit: (ending: Ending) => Effect.Effect<boolean, LockError | OutcomeUnknown>
      /**
       * The same, stored only if this owner has closed the journal of the saga: asked in the turn in which the journal is
       * asked, it goes right behind that on the same connection. Undefined where the two do not share a store.
       */
      readonly commitBehind?:
        | ((ending: Ending, journalOwner: number) => Effect.Effect<boolean, LockError | OutcomeUnknown>)
        | undefined
    }

export class SagaGuard extends Context.Service<
  SagaGuard,
  {
    /**
     * Waits, up to the wait limit, for the resources or for the result of the request in flight. The lease is released
     * when the scope closes.
     */
    readonly enter: (request: IdempotencyRequest) => Effect.Effect<Admission, LockError | IdempotencyError, Scope.Scope>
    /**
     * Reads what is recorded, where that is likely: this process has seen a record of it. Without a saga's id, since
     * nothing is admitted. Undefined: `enter` tells.
     */
    readonly recall?: (
      wanted: Omit<IdempotencyRequest, "sagaId">
    ) => Effect.Effect<Replayed | undefined, IdempotencyError> | undefined
    /**
     * Stores the ending of a saga whose owner is gone, admitted at `fence`: its open mark is closed and a repeat gets
     * its result. Never fails: when another was admitted since, or the store is gone, nothing is stored.
     */
    readonly finish: (request: IdempotencyRequest, fence: number, ending: Ending) => Effect.Effect<void>
  }
>()("effect-saga/services/SagaGuard") {}
