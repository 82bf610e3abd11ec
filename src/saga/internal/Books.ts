/** The journal as a running saga keeps it: an intent is written before its call starts, all else with what comes next. */
import { Effect } from "effect"
import type { JournalRecord, JournalRef } from "../../schema/Journal.ts"
import type { JournalError } from "../../schema/JournalError.ts"
import type { JournalEnd, SagaJournal } from "../../services/SagaJournal.ts"

export interface Books {
  /** False: nothing is kept, so nothing needs to be encoded for it. */
  readonly keeps: boolean
  /** Written with what comes next: losing it loses nothing, since undoing and finishing bear to be repeated. */
  readonly note: (record: JournalRecord) => void
  /** Writes it, and what was noted before it. False: the journal is another's now. */
  readonly write: (...records: ReadonlyArray<JournalRecord>) => Effect.Effect<boolean, JournalError>
  readonly close: (end: JournalEnd) => Effect.Effect<boolean, JournalError>
}

export const makeBooks = (journal: SagaJournal, ref: JournalRef, owner: number): Books => {
  let noted: Array<JournalRecord> = []
  /** What could not be written is still to be written. */
  const writing = (
    records: ReadonlyArray<JournalRecord>,
    write: (all: ReadonlyArray<JournalRecord>) => Effect.Effect<boolean, JournalError>
  ) =>
    Effect.suspend(() => {
      const before = noted
      noted = []
      return Effect.onError(write([...before, ...records]), () =>
        Effect.sync(() => {
          noted = [...before, ...noted]
        })
      )
    })
  return {
    keeps: journal.keeps,
    note: (record) => {
      if (journal.keeps) noted.push(record)
    },
    write: (...records) => writing(records, (all) => journal.append(ref, owner, all)),
    close: (end) => writing([], (all) => journal.close(ref, owner, all, end))
  }
}
