/**
 * The journal as a running saga keeps it: it is opened with the first intent, an intent is written before its call
 * starts, and all else with what comes next.
 */
import { Effect, Latch } from "effect"
import type { JournalRecord, JournalRef } from "../../schema/Journal.ts"
import type { JournalError } from "../../schema/JournalError.ts"
import type { LockError } from "../../schema/LockError.ts"
import type { JournalClosing, JournalEnd, SagaJournal } from "../../services/SagaJournal.ts"

type Records = ReadonlyArray<JournalRecord>
export type BooksError = JournalError | LockError

export interface Books {
  /** False: nothing is kept, so nothing needs to be encoded for it. */
  readonly keeps: boolean
  /** Whether the journal is surely there: before that no call has begun. */
  readonly isOpen: () => boolean
  /** Who may write it: this saga, or whoever settles it. */
  readonly owner: () => number
  /** Opens it, if it is not open yet; whatever is in its way is settled then. */
  readonly ready: Effect.Effect<void, BooksError>
  /** Written with what comes next: losing it loses nothing, since undoing and finishing bear to be repeated. */
  readonly note: (record: JournalRecord) => void
  /**
   * Writes it, if there is one, and what was noted before it: to be called when it is to be written, and run once. False: the
   * journal is another's now.
   */
  readonly write: (record?: JournalRecord) => Effect.Effect<boolean, BooksError>
  readonly close: (end: JournalEnd) => Effect.Effect<boolean, BooksError>
  /** `close` by whoever asks for it together with something else, as `write` is called; undefined where that cannot be. */
  readonly closeBy: <A, E>(
    end: JournalEnd,
    ask: (closing: JournalClosing) => Effect.Effect<A, E>
  ) => Effect.Effect<A, E> | undefined
}

/** A journal that is to be opened by its saga. */
export interface Unopened {
  /** Its owner from then on, and whether the records went with it: something in the way takes several tries. */
  readonly open: (records: Records) => Effect.Effect<{ readonly fence: number; readonly written: boolean }, BooksError>
}

const none: Books = {
  keeps: false,
  isOpen: () => true,
  owner: () => 0,
  ready: Effect.void,
  note: () => {},
  write: () => Effect.succeed(true),
  close: () => Effect.succeed(true),
  closeBy: () => undefined
}

export const makeBooks = (
  journal: SagaJournal,
  ref: JournalRef,
  fence: number,
  unopened: Unopened | undefined
): Books => {
  if (!journal.keeps) return none
  let noted: Array<JournalRecord> = []
  let owner = fence
  let open = unopened === undefined
  let asked = false
  /** Opened when the question on the way has ended. */
  let asking: Latch.Latch | undefined

  /**
   * Whether the records went with it. They do in the first question only: one whose answer was lost may have been heard,
   * and opening what is open writes nothing. Steps that begin at once ask one after another.
   */
  const opening = (records: Records): Effect.Effect<boolean, BooksError> =>
    Effect.uninterruptible(
      Effect.suspend(() => {
        if (open || unopened === undefined) return Effect.succeed(false)
        if (asking !== undefined) return Effect.andThen(asking.await, opening(records))
        const alongside = asked || records.some(({ _tag }) => _tag === "Undoing") ? [] : records
        const latch = Latch.makeUnsafe(false)
        const over = () => {
          asking = undefined
          latch.openUnsafe()
        }
        asked = true
        asking = latch
        // What throws must not keep the others waiting.
        return Effect.matchCauseEffect(
          Effect.suspend(() => unopened.open(alongside)),
          {
            onFailure: (cause) => {
              over()
              return Effect.failCause(cause)
            },
            onSuccess: (opened) => {
              owner = opened.fence
              open = true
              over()
              return Effect.succeed(opened.written && alongside.length === records.length)
            }
          }
        )
      })
    )

  /** Settling what was in the way has drawn a higher fence, and it is the one that the calls will carry. */
  const ofOwner = (records: Records): Records =>
    owner === fence
      ? records
      : records.map((record) =>
          record._tag === "Started" && record.fence === fence ? { ...record, fence: owner } : record
        )

  /** What could not be written is still to be written. */
  const writing = <A, E>(record: JournalRecord | undefined, write: (all: Records) => Effect.Effect<A, E>) => {
    const before = noted
    const written = write(record === undefined ? before : [...before, record])
    noted = []
    return Effect.onExitPrimitive(written, (exit) => {
      if (exit._tag === "Failure") noted = [...before, ...noted]
      return undefined
    })
  }
  const append = (all: Records): Effect.Effect<boolean, BooksError> =>
    open
      ? journal.append(ref, owner, all)
      : Effect.flatMap(opening(all), (written) =>
          written ? Effect.succeed(true) : journal.append(ref, owner, ofOwner(all))
        )
  const ready = Effect.suspend(() => (open ? Effect.void : Effect.asVoid(opening([]))))
  const closing = (end: JournalEnd) => writing(undefined, (all) => journal.close(ref, owner, ofOwner(all), end))

  return {
    keeps: true,
    isOpen: () => open,
    owner: () => owner,
    ready,
    note: (record) => void noted.push(record),
    write: (record) => writing(record, append),
    closeBy: (end, ask) => {
      const { closing } = journal
      if (closing === undefined || !open) return undefined
      return writing(undefined, (all) => ask(closing(ref, owner, ofOwner(all), end)))
    },
    close: (end) => Effect.suspend(() => (open ? closing(end) : Effect.flatMap(opening([]), () => closing(end))))
  }
}
