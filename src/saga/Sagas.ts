/** What the journal says of sagas: those that run, are being undone, are stuck, or have ended. */
import { Effect } from "effect"
import type { Journal, JournalFilter } from "../schema/Journal.ts"
import type { JournalError } from "../schema/JournalError.ts"
import { SagaJournal } from "../services/SagaJournal.ts"

/** Oldest first, 100 at most unless said; `stuck` are those that could not be settled, with their `problem`. */
export const list = (filter?: JournalFilter): Effect.Effect<ReadonlyArray<Journal>, JournalError> =>
  Effect.flatMap(SagaJournal, (journal) => journal.list(filter))

/** Undefined when no journal knows it (any more). */
export const get = (sagaId: string): Effect.Effect<Journal | undefined, JournalError> =>
  Effect.flatMap(SagaJournal, (journal) => journal.get(sagaId))
