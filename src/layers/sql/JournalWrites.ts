/**
 * The writes of a journal, those of many sagas in one statement: an open, an append and a close each by their function
 * of `migrations/0102_saga_journal.sql`.
 */
import { Effect, Schema, type Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Statement } from "effect/sql/Statement"
import type { NewJournal } from "../../schema/Journal.ts"
import type { JournalEnd } from "../../services/SagaJournal.ts"
import { bounded } from "../spool/Bounded.ts"
import { isConflict, isOfItsValues } from "./Failures.ts"
import { makeGroupCommit } from "./GroupCommit.ts"

/**
 * A database that hangs is one that is down: undoing goes on without it. What was given up on may still be written, which
 * is no worse than a reply that was lost.
 */
export const PATIENCE = "10 seconds"

/** The texts of JSON. */
interface Open extends Omit<NewJournal, "payload"> {
  readonly payload: string
  readonly records: string
}

interface Append {
  readonly sagaId: string
  readonly owner: number
  readonly records: string
  readonly undoing: boolean
}

interface Close extends JournalEnd {
  readonly sagaId: string
  readonly owner: number
  readonly records: string
}

type Write<Op, Answer> = (op: Op) => Effect.Effect<Answer, unknown>

export interface JournalWrites {
  /** Yields the ids of those in the way. */
  readonly open: Write<Open, ReadonlyArray<string>>
  readonly append: Write<Append, boolean>
  readonly close: Write<Close, boolean>
}

const Places = Schema.NonEmptyArray(Schema.Struct({ places: Schema.NullOr(Schema.Array(Schema.Int)) }))
const InTheWay = Schema.NonEmptyArray(
  Schema.Struct({ others: Schema.Record(Schema.String, Schema.Array(Schema.String)) })
)
const decodePlaces = Schema.decodeUnknownEffect(Places)
const decodeInTheWay = Schema.decodeUnknownEffect(InTheWay)

export const makeJournalWrites: Effect.Effect<JournalWrites, never, SqlClient | Scope.Scope> = Effect.gen(function* () {
  const sql = yield* SqlClient

  const inGroups = <Op, Answer>(
    statement: (ops: ReadonlyArray<Op>) => Statement<object>,
    answers: (rows: ReadonlyArray<object>, ops: ReadonlyArray<Op>) => Effect.Effect<ReadonlyArray<Answer>, unknown>
  ) =>
    makeGroupCommit(
      (ops: ReadonlyArray<Op>) => {
        const written: Effect.Effect<ReadonlyArray<object>, SqlError> = statement(ops)
        return Effect.flatMap(bounded(Effect.retry(written, { while: isConflict, times: 3 }), PATIENCE), (rows) =>
          answers(rows, ops)
        )
      },
      { writers: 2, missing: (): unknown => new Error("the database gave no answer"), isOfOne: isOfItsValues }
    )
  /** Those whose places, counted from one, are there. */
  const byPlace = (rows: ReadonlyArray<object>, ops: ReadonlyArray<unknown>) =>
    Effect.map(decodePlaces(rows), ([{ places }]) => {
      const written = ops.map(() => false)
      for (const place of places ?? []) written[place - 1] = true
      return written
    })

  return {
    open: yield* inGroups(
      (ops: ReadonlyArray<Open>) =>
        sql`SELECT saga_journal_open_all(
          ${JSON.stringify(
            ops.map(({ derived, fence, fingerprint, key, resources, saga, sagaId, version }) => ({
              saga_id: sagaId,
              saga,
              version,
              resources,
              fence,
              key,
              derived,
              fingerprint
            }))
          )}, ${ops.map(({ payload }) => payload)}, ${ops.map(({ records }) => records)}) AS others`,
      (rows, ops) =>
        Effect.map(decodeInTheWay(rows), ([{ others }]) => ops.map((_, index) => others[`${index + 1}`] ?? []))
    ),
    append: yield* inGroups(
      (ops: ReadonlyArray<Append>) =>
        sql`SELECT saga_journal_append_all(
          ${ops.map(({ sagaId }) => sagaId)}, ${ops.map(({ owner }) => `${owner}`)},
          ${ops.map(({ records }) => records)}, ${ops.map(({ undoing }) => undoing)}) AS places`,
      byPlace
    ),
    close: yield* inGroups(
      (ops: ReadonlyArray<Close>) =>
        sql`SELECT saga_journal_close_all(
          ${ops.map(({ sagaId }) => sagaId)}, ${ops.map(({ owner }) => `${owner}`)},
          ${ops.map(({ records }) => records)}, ${ops.map(({ outcome }) => outcome)},
          ${ops.map(({ result }) => result ?? "")}) AS places`,
      byPlace
    )
  }
})
