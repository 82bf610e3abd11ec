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
import { Context, Effect, Exit, Scope } from "effect"
import type { IdempotencyError } from "../schema/IdempotencyError.ts"
import type { LockError } from "../schema/LockError.ts"
import type { OutcomeUnknown } from "../schema/SagaError.ts"
import type { Lease } from "./DistributedLock.ts"
import type { Ending, IdempotencyRequest, OpenMark } from "./Idempotency.ts"
import type { JournalClosing } from "./SagaJournal.ts"

/** A recorded result. */
export interface Replayed {
  readonly _tag: "Replayed"
  readonly result: string
}

/** What became of a journal's end and of the guard's. */
export interface ClosedWith {
  readonly closed: boolean
  /** Whether a repeat will be served from it; undefined: it was refused, for another owns the resource. */
  readonly recorded: boolean | undefined
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
       * The same, and the end of the saga's journal before it, in one step. Not closed: the journal's owner is another, and
       * nothing is stored. Fails when nobody knows: both may be asked for again, each by itself. Undefined where the two do
       * not share a store.
       */
      readonly commitClosing?:
        | ((ending: Ending, closing: JournalClosing) => Effect.Effect<ClosedWith, IdempotencyError>)
        | undefined
    }

/** Makes interruptible again what was before. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** An admission that whoever has it must close, as if that were its scope; one without `close` ends with a scope. */
export type Entered =
  | Replayed
  | (Extract<Admission, { readonly _tag: "Admitted" }> & {
      /** Undefined: nothing is left to do. */
      readonly close?: ((exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void> | undefined) | undefined
    })

export type Admit = (
  request: IdempotencyRequest,
  restore: Restore,
  context: Context.Context<never>
) => Effect.Effect<Entered, LockError | IdempotencyError>

export class SagaGuard extends Context.Service<
  SagaGuard,
  {
    /**
     * Waits, up to the wait limit, for the resources or for the result of the request in flight. The lease is released
     * when the scope closes.
     */
    readonly enter: (request: IdempotencyRequest) => Effect.Effect<Admission, LockError | IdempotencyError, Scope.Scope>
    /**
     * The same for whoever needs no scope: it must be called uninterruptible and be run at once, in this `context`; `restore`
     * is what makes waiting interruptible. A guard made of another by changing its `enter` must change this too, or leave it
     * out.
     */
    readonly admit?: Admit
    /**
     * Reads what is recorded, where that is likely: this process has seen a record of it. Without a saga's id, since
     * nothing is admitted; in the context of whoever asks. Undefined: `enter` tells. `meanwhile` is called in the turn in
     * which the store is asked, for what can be worked out until it answers: the fingerprint is not read before. It is that
     * of the payload as it was given, where that is likely the encoded one too: whoever asks makes sure of a `KeyReused`.
     * Like the resources it is worked out when it is read and no property of `wanted`'s own: whoever copies that reads both.
     */
    readonly recall?: (
      wanted: Omit<IdempotencyRequest, "sagaId">,
      context: Context.Context<never>,
      meanwhile: () => void
    ) => Effect.Effect<Replayed | undefined, IdempotencyError> | undefined
    /**
     * Stores the ending of a saga whose owner is gone, admitted at `fence`: its open mark is closed and a repeat gets
     * its result. Never fails: when another was admitted since, or the store is gone, nothing is stored.
     */
    readonly finish: (request: IdempotencyRequest, fence: number, ending: Ending) => Effect.Effect<void>
  }
>()("effect-saga/services/SagaGuard") {}

/** What is to be done in the end of an admission, if anything. */
export const closed = (
  admission: Entered | undefined,
  exit: Exit.Exit<unknown, unknown>
): Effect.Effect<void> | undefined => (admission?._tag === "Admitted" ? admission.close?.(exit) : undefined)

/** `enter` by `admit`. */
export const enteringBy =
  (admit: Admit): SagaGuard["Service"]["enter"] =>
  (request) =>
    Effect.contextWith((context: Context.Context<Scope.Scope>) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.tap(admit(request, restore, context), (admission) =>
          Effect.addFinalizer((exit) => closed(admission, exit) ?? Effect.void)
        )
      )
    )

/** `admit` by `enter`. */
export const admittingBy =
  (guard: SagaGuard["Service"]): Admit =>
  (request, restore) => {
    const scope = Scope.makeUnsafe()
    const close = (exit: Exit.Exit<unknown, unknown>) => Scope.close(scope, exit)
    return Effect.matchCauseEffect(restore(Scope.provide(guard.enter(request), scope)), {
      onFailure: (cause) => Effect.andThen(close(Exit.failCause(cause)), Effect.failCause(cause)),
      onSuccess: (admission): Effect.Effect<Entered> =>
        admission._tag === "Replayed"
          ? Effect.as(close(Exit.succeed(admission)), admission)
          : Effect.succeed({ ...admission, close })
    })
  }
