/**
 * The writes of a journal, those of many sagas in one statement and one transaction, whatever each of them writes: by the
 * functions of `migrations/0102_saga_journal.sql`.
 */
import { Effect, Schema, type Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Statement } from "effect/sql/Statement"
import { compiled } from "../../schema/Compiled.ts"
import type { NewJournal } from "../../schema/Journal.ts"
import type { JournalEnd } from "../../services/SagaJournal.ts"
import { isConflict, isOfItsValues } from "./Failures.ts"
import { makeGroupCommit } from "./GroupCommit.ts"

/**
 * A database that hangs is one that is down: undoing goes on without it. What was given up on may still be written, which
 * is no worse than a reply that was lost.
 */
export const PATIENCE = "10 seconds"

/** Longer than writing takes where it takes long: on a slow disk, or right after a checkpoint. */
const SLOW = "50 millis"

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

type Asked<Op, A> = (op: Op) => Effect.Effect<A, unknown>

export interface JournalWrites {
  /** Yields the ids of those in the way. */
  readonly open: Asked<Open, ReadonlyArray<string>>
  /** Whether it was written. */
  readonly append: Asked<Append, boolean>
  readonly close: Asked<Close, boolean>
}

type Write =
  | { readonly _tag: "Open"; readonly op: Open }
  | { readonly _tag: "Append"; readonly op: Append }
  | { readonly _tag: "Close"; readonly op: Close }

/** Who is in the way of an open; of the others, whether it was written. */
type Answer = ReadonlyArray<string> | boolean

const answered = <A>(answer: Schema.Decoder<A>) =>
  Schema.decodeUnknownEffect(compiled(Schema.NonEmptyArray(Schema.Struct({ answer }))))
const decodeOthers = answered(Schema.Array(Schema.String))
const decodeWritten = answered(Schema.Boolean)
/** Of those that were written, counted from one. */
const Places = Schema.NullOr(Schema.Array(Schema.Int))
/** By the place of who is kept out. */
const InTheWay = Schema.NullOr(Schema.Record(Schema.String, Schema.Array(Schema.String)))
const decodeAll = Schema.decodeUnknownEffect(
  compiled(Schema.NonEmptyArray(Schema.Struct({ opened: InTheWay, appended: Places, closed: Places })))
)

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

const byKind = (writes: ReadonlyArray<Write>) => {
  const opens: Array<Open> = []
  const appends: Array<Append> = []
  const closes: Array<Close> = []
  for (const { _tag, op } of writes) {
    if (_tag === "Open") opens.push(op)
    else if (_tag === "Append") appends.push(op)
    else closes.push(op)
  }
  return { opens, appends, closes }
}

/** Each gets the next of its kind. */
const inTheirOrder = (
  writes: ReadonlyArray<Write>,
  { appended, closed, opened }: Effect.Success<ReturnType<typeof decodeAll>>[0]
): ReadonlyArray<Answer> => {
  const [appends, closes] = [new Set(appended), new Set(closed)]
  const places = { Open: 0, Append: 0, Close: 0 }
  return writes.map(({ _tag }) => {
    const place = ++places[_tag]
    if (_tag === "Open") return opened?.[`${place}`] ?? []
    return (_tag === "Append" ? appends : closes).has(place)
  })
}

/** In two transactions that got in each other's way nothing was written, and asking again helps. */
const settled = <A>(statement: Effect.Effect<A, SqlError>, times = 3): Effect.Effect<A, SqlError> =>
  Effect.catch(statement, (error) =>
    times > 0 && isConflict(error) ? settled(statement, times - 1) : Effect.fail(error)
  )

const statementsOf = (sql: SqlClient) => {
  const written = (statement: Statement<object>) =>
    Effect.map(Effect.flatMap(settled(statement), decodeWritten), ([{ answer }]) => answer)
  /** It costs less than a group of one. */
  const lone = ({ _tag, op }: Write): Effect.Effect<Answer, unknown> => {
    switch (_tag) {
      case "Open":
        return Effect.map(
          Effect.flatMap(
            settled(sql`SELECT saga_journal_open(${op.sagaId}, ${op.saga}, ${op.version}, ${op.resources}, ${op.fence},
              ${op.key}, ${op.derived}, ${op.fingerprint}, ${op.payload}, ${op.records}) AS answer`),
            decodeOthers
          ),
          ([{ answer }]) => answer
        )
      case "Append":
        return written(
          sql`SELECT saga_journal_append(${op.sagaId}, ${op.owner}, ${op.records}, ${op.undoing}) AS answer`
        )
      case "Close":
        return written(sql`SELECT saga_journal_close(${op.sagaId}, ${op.owner}, ${op.records}, ${op.outcome},
          ${op.result ?? ""}) AS answer`)
    }
  }
  const none = sql`NULL`
  const opened = (ops: ReadonlyArray<Open>) =>
    ops.length === 0
      ? none
      : sql`saga_journal_open_all(${JSON.stringify(ops.map(identity))}, ${ops.map(({ payload }) => payload)},
          ${ops.map(({ records }) => records)})`
  const appended = (ops: ReadonlyArray<Append>) =>
    ops.length === 0
      ? none
      : sql`saga_journal_append_all(${ops.map(({ sagaId }) => sagaId)}, ${ops.map(({ owner }) => `${owner}`)},
          ${ops.map(({ records }) => records)}, ${ops.map(({ undoing }) => undoing)})`
  const closed = (ops: ReadonlyArray<Close>) =>
    ops.length === 0
      ? none
      : sql`saga_journal_close_all(${ops.map(({ sagaId }) => sagaId)}, ${ops.map(({ owner }) => `${owner}`)},
          ${ops.map(({ records }) => records)}, ${ops.map(({ outcome }) => outcome)},
          ${ops.map(({ result }) => result ?? "")})`
  const all = (writes: ReadonlyArray<Write>): Effect.Effect<ReadonlyArray<Answer>, unknown> => {
    const { appends, closes, opens } = byKind(writes)
    // What is closed first is in nobody's way any more.
    const statement = sql`SELECT ${closed(closes)} AS closed, ${appended(appends)} AS appended, ${opened(opens)} AS opened`
    return Effect.map(Effect.flatMap(settled(statement), decodeAll), ([answers]) => inTheirOrder(writes, answers))
  }
  return { lone, all }
}

const noAnswer = (): unknown => new Error("the database gave no answer")

export const makeJournalWrites: Effect.Effect<JournalWrites, never, SqlClient | Scope.Scope> = Effect.gen(function* () {
  const { all, lone } = statementsOf(yield* SqlClient)
  const commit = yield* makeGroupCommit(
    (writes: ReadonlyArray<Write>) => {
      const [only] = writes
      return only !== undefined && writes.length === 1 ? Effect.map(lone(only), (answer) => [answer]) : all(writes)
    },
    {
      writers: 2,
      slow: SLOW,
      patience: PATIENCE,
      missing: noAnswer,
      isOfOne: isOfItsValues
    }
  )
  const written = (write: Write) => Effect.map(commit(write), (answer) => answer === true)
  return {
    open: (op) =>
      Effect.flatMap(commit({ _tag: "Open", op }), (answer) =>
        typeof answer === "boolean" ? Effect.fail(noAnswer()) : Effect.succeed(answer)
      ),
    append: (op) => written({ _tag: "Append", op }),
    close: (op) => written({ _tag: "Close", op })
  }
})
