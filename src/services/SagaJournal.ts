/**
 * What running sagas write down, so that a crash leaves nothing half done: the admission, each call's intent before it
 * starts, its outcome, the end. Without one (the default) a crash leaves an `abandoned` dead letter.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { MemoryJournal, Saga, SagaMemory, Sagas } from "effect-saga"
 *
 * const nothing = Saga.make("Nothing", {
 *   payload: Schema.String,
 *   resource: (id) => id,
 *   steps: [],
 *   run: () => Effect.void
 * })
 * const kept = Effect.gen(function* () {
 *   const { sagaId } = yield* nothing.executeReceipt("1")
 *   const journal = yield* Sagas.get(sagaId)
 *   return [journal?.status, journal?.outcome]
 * })
 * // SqlJournal and RedisJournal outlive the process.
 * const journals = await Effect.runPromise(Effect.provide(kept, [SagaMemory.layer, MemoryJournal.layer]))
 * console.log(journals) // [ 'finished', 'succeeded' ]
 * ```
 */
import { Context, type DateTime, Effect } from "effect"
import type { Journal, JournalFilter, JournalRecord, JournalRef, NewJournal, SagaOutcome } from "../schema/Journal.ts"
import type { JournalError } from "../schema/JournalError.ts"

export interface JournalEnd {
  readonly outcome: typeof SagaOutcome.Type
  /** The text of the result that a repeat gets. */
  readonly result: string | null
}

/** The end of a journal in the words of its store, which can then be asked for it and for something else in one step. */
export interface JournalClosing {
  readonly keys: ReadonlyArray<string>
  readonly args: ReadonlyArray<string>
}

export interface SagaJournal {
  /** False: nothing is kept, so nothing needs to be encoded for it. */
  readonly keeps: boolean
  /**
   * Opens a journal if no unfinished saga has one of its resources; else yields those, highest fence first, and opens
   * nothing. Its owner is its fence. Asking again for the same saga id and fence changes nothing. `records` are written
   * with it, if it was not open already; none of them begins the undoing.
   */
  readonly open: (
    saga: NewJournal,
    records?: ReadonlyArray<JournalRecord>
  ) => Effect.Effect<ReadonlyArray<Journal>, JournalError>
  /** False when `owner` does not own the journal (any more) or it is finished: then nothing was written. */
  readonly append: (
    ref: JournalRef,
    owner: number,
    records: ReadonlyArray<JournalRecord>
  ) => Effect.Effect<boolean, JournalError>
  /**
   * Writes the end and frees the resources. False as for `append`; true when it has ended already under the same owner
   * with the same outcome.
   */
  readonly close: (
    ref: JournalRef,
    owner: number,
    records: ReadonlyArray<JournalRecord>,
    end: JournalEnd
  ) => Effect.Effect<boolean, JournalError>
  /**
   * `close` put into words, for a guard on the same store. A journal made of another by changing its `close` must change
   * this too, or leave it out.
   */
  readonly closing?: (
    ref: JournalRef,
    owner: number,
    records: ReadonlyArray<JournalRecord>,
    end: JournalEnd
  ) => JournalClosing
  /** Passes the journal from one owner to another with a higher fence; false when it is not `from`'s (any more). */
  readonly claim: (ref: JournalRef, from: number, to: number) => Effect.Effect<boolean, JournalError>
  /** Notes why an unfinished saga could not be settled. */
  readonly note: (ref: JournalRef, problem: string) => Effect.Effect<void, JournalError>
  readonly get: (sagaId: string) => Effect.Effect<Journal | undefined, JournalError>
  /** Oldest first. */
  readonly list: (filter?: JournalFilter) => Effect.Effect<ReadonlyArray<Journal>, JournalError>
  /** Removes journals that finished before; yields how many. */
  readonly purge: (finishedBefore: DateTime.Utc) => Effect.Effect<number, JournalError>
}

const none: SagaJournal = {
  keeps: false,
  open: () => Effect.succeed([]),
  append: () => Effect.succeed(true),
  close: () => Effect.succeed(true),
  claim: () => Effect.succeed(false),
  note: () => Effect.void,
  get: () => Effect.undefined,
  list: () => Effect.succeed([]),
  purge: () => Effect.succeed(0)
}

/** None is kept unless a layer of `SagaJournal` is provided. */
export const SagaJournal = Context.Reference<SagaJournal>("effect-saga/services/SagaJournal", {
  defaultValue: () => none
})

export const noJournal = none
