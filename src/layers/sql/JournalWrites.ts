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

const Answer = Schema.Struct({ answer: Schema.Unknown })
const decodeAnswer = Schema.decodeUnknownEffect(Answer)
const Places = Schema.NullOr(Schema.Array(Schema.Int))
const InTheWay = Schema.Record(Schema.String, Schema.Array(Schema.String))

type Statements<Op, Answer> = {
  /** One is asked for by itself, which costs less than a group of one. */
  readonly lone: (op: Op) => Statement<object>
  readonly answer: Schema.Decoder<Answer>
  readonly group: (ops: ReadonlyArray<Op>) => Statement<object>
  readonly answers: (answer: unknown, count: number) => Effect.Effect<ReadonlyArray<Answer>, Schema.SchemaError>
}

/** Whether each one's place, counted from one, is there. */
const byPlace: Statements<never, boolean>["answers"] = (answer, count) =>
  Effect.map(Schema.decodeUnknownEffect(Places)(answer), (places) => {
    const written = Array.from({ length: count }, () => false)
    for (const place of places ?? []) written[place - 1] = true
    return written
  })

const identity = ({ derived, fence, fingerprint, key, resources, saga, sagaId, version }: Open) => ({
  saga_id: sagaId,
  saga,
  version,
  resources,
  fence,
  key,
  derived,
  fingerprint
})

export const makeJournalWrites: Effect.Effect<JournalWrites, never, SqlClient | Scope.Scope> = Effect.gen(function* () {
  const sql = yield* SqlClient

  const settled = <A>(statement: Effect.Effect<A, SqlError>, times: number): Effect.Effect<A, SqlError> =>
    Effect.catch(statement, (error) =>
      times > 0 && isConflict(error) ? settled(statement, times - 1) : Effect.fail(error)
    )
  const inGroups = <Op, Answer>({ answer, answers, group, lone }: Statements<Op, Answer>) => {
    const decode = Schema.decodeUnknownEffect(answer)
    return makeGroupCommit(
      (ops: ReadonlyArray<Op>): Effect.Effect<ReadonlyArray<Answer>, unknown> => {
        const [only] = ops
        const isLone = only !== undefined && ops.length === 1
        const statement: Effect.Effect<ReadonlyArray<object>, SqlError> = isLone ? lone(only) : group(ops)
        return settled(statement, 3).pipe(
          Effect.flatMap(([row]) => decodeAnswer(row)),
          Effect.flatMap(({ answer }) =>
            isLone ? Effect.map(decode(answer), (one) => [one]) : answers(answer, ops.length)
          )
        )
      },
      {
        writers: 2,
        patience: PATIENCE,
        missing: (): unknown => new Error("the database gave no answer"),
        isOfOne: isOfItsValues
      }
    )
  }

  return {
    open: yield* inGroups<Open, ReadonlyArray<string>>({
      lone: (op) => sql`SELECT saga_journal_open(${op.sagaId}, ${op.saga}, ${op.version}, ${op.resources}, ${op.fence},
        ${op.key}, ${op.derived}, ${op.fingerprint}, ${op.payload}, ${op.records}) AS answer`,
      answer: Schema.Array(Schema.String),
      group: (ops) => sql`SELECT saga_journal_open_all(${JSON.stringify(ops.map(identity))},
        ${ops.map(({ payload }) => payload)}, ${ops.map(({ records }) => records)}) AS answer`,
      answers: (answer, count) =>
        Effect.map(Schema.decodeUnknownEffect(InTheWay)(answer), (others) =>
          Array.from({ length: count }, (_, index) => others[`${index + 1}`] ?? [])
        )
    }),
    append: yield* inGroups<Append, boolean>({
      lone: (op) => sql`SELECT saga_journal_append(${op.sagaId}, ${op.owner}, ${op.records}, ${op.undoing}) AS answer`,
      answer: Schema.Boolean,
      group: (ops) => sql`SELECT saga_journal_append_all(${ops.map(({ sagaId }) => sagaId)},
        ${ops.map(({ owner }) => `${owner}`)}, ${ops.map(({ records }) => records)},
        ${ops.map(({ undoing }) => undoing)}) AS answer`,
      answers: byPlace
    }),
    close: yield* inGroups<Close, boolean>({
      lone: (op) => sql`SELECT saga_journal_close(${op.sagaId}, ${op.owner}, ${op.records}, ${op.outcome},
        ${op.result ?? ""}) AS answer`,
      answer: Schema.Boolean,
      group: (ops) => sql`SELECT saga_journal_close_all(${ops.map(({ sagaId }) => sagaId)},
        ${ops.map(({ owner }) => `${owner}`)}, ${ops.map(({ records }) => records)},
        ${ops.map(({ outcome }) => outcome)}, ${ops.map(({ result }) => result ?? "")}) AS answer`,
      answers: byPlace
    })
  }
})
