/**
 * Journals in PostgreSQL (or PGlite), by the tables and functions of `migrations/0102_saga_journal.sql`: as durable as
 * the database is. A resource is admitted by a primary key, which holds even when Redis has forgotten everything.
 *
 * **Gotchas**
 *
 * Nothing is purged by itself: see `SagaJournal.purge`.
 */
import { DateTime, Effect, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import { Journal, type JournalFilter, JournalRecord, SagaOutcome, SagaStatus } from "../../schema/Journal.ts"
import { JournalError } from "../../schema/JournalError.ts"
import { SagaJournal } from "../../services/SagaJournal.ts"
import { bounded } from "../spool/Bounded.ts"
import { isConflict, isOfItsValues } from "./Failures.ts"
import { makeGroupCommit } from "./GroupCommit.ts"
import { fromJsonb, toJsonb, toText } from "./Jsonb.ts"
import { migrate } from "./Migrations.ts"

/** One change of a journal, as `saga_journal_apply` takes it. */
interface Op {
  readonly op: "open" | "append" | "close" | "claim"
  readonly [field: string]: unknown
}

/** Numbers of 64 bits come as text, times as text by our own formatting. */
const Row = Schema.Struct({
  sagaId: Schema.String,
  saga: Schema.String,
  version: Schema.Int,
  resources: Schema.Array(Schema.String),
  fence: Schema.FiniteFromString,
  owner: Schema.FiniteFromString,
  status: SagaStatus,
  outcome: Schema.NullOr(SagaOutcome),
  problem: Schema.NullOr(Schema.String),
  key: Schema.String,
  derived: Schema.Boolean,
  fingerprint: Schema.String,
  payload: Schema.Unknown,
  result: Schema.NullOr(Schema.String),
  records: Schema.Array(Schema.Array(JournalRecord)),
  openedAt: Schema.DateTimeUtcFromString,
  updatedAt: Schema.DateTimeUtcFromString
})

const time = (value: string) => `to_char(${value} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`

const COLUMNS = `j.saga_id AS "sagaId", j.saga, j.version, j.resources, j.fence::text, j.owner::text, j.status, j.outcome,
  j.problem, j.key, j.derived, j.fingerprint, j.payload, j.result, coalesce(r.records, '[]') AS records,
  ${time("j.opened_at")} AS "openedAt", ${time("greatest(j.updated_at, r.written_at)")} AS "updatedAt"`

/** A record with its values changed, for or from what `jsonb` can hold. */
const withValues = (record: JournalRecord, change: (value: unknown) => unknown): JournalRecord => {
  switch (record._tag) {
    case "Started":
      return { ...record, input: change(record.input), before: change(record.before) }
    case "Done":
      return { ...record, output: change(record.output) }
    case "Failed":
      return { ...record, error: change(record.error) }
    default:
      return record
  }
}
const storable = (records: ReadonlyArray<JournalRecord>) => records.map((record) => withValues(record, toJsonb))

const Refusal = Schema.Array(Schema.String)

/**
 * A database that hangs is one that is down: undoing goes on without it. What was given up on may still be written, which
 * is no worse than a reply that was lost.
 */
const PATIENCE = "10 seconds"

const make = Effect.gen(function* () {
  const sql = yield* SqlClient
  const failed = (operation: string) => (cause: unknown) => new JournalError({ operation, cause })

  const apply = yield* makeGroupCommit(
    (ops: ReadonlyArray<Op>) =>
      sql<{ answers: unknown }>`SELECT saga_journal_apply(${JSON.stringify(ops)}::text::jsonb) AS answers`.pipe(
        Effect.retry({ while: isConflict, times: 3 }),
        (statement) => bounded(statement, PATIENCE),
        Effect.flatMap((rows) => Schema.decodeUnknownEffect(Schema.Array(Schema.Unknown))(rows[0]?.answers))
      ),
    { writers: 2, missing: () => new Error("the database gave no answer"), isOfOne: isOfItsValues }
  )
  const asked = (op: Op): Effect.Effect<boolean, JournalError> =>
    Effect.mapBoth(apply(op), { onFailure: failed(op.op), onSuccess: (answer) => answer === true })

  const select = Effect.fnUntraced(
    function* (where: Fragment, order: Fragment, limit: number) {
      const statement = sql`
        SELECT ${sql.literal(COLUMNS)} FROM saga_journal j
        LEFT JOIN LATERAL (
          SELECT jsonb_agg(records ORDER BY seq) AS records, max(written_at) AS written_at
          FROM saga_journal_records WHERE saga_id = j.saga_id
        ) r ON true
        WHERE ${where} ORDER BY ${order} LIMIT ${limit}`
      const rows = yield* bounded(statement, PATIENCE)
      const decoded = yield* Schema.decodeUnknownEffect(Schema.Array(Row))(rows)
      return decoded.map(
        (row) =>
          new Journal({
            ...row,
            payload: fromJsonb(row.payload),
            records: row.records.flat().map((record) => withValues(record, fromJsonb))
          })
      )
    },
    Effect.mapError(failed("read"))
  )
  const oldestFirst = sql`j.opened_at, j.saga_id`
  const conditions = (filter: JournalFilter): Fragment =>
    sql.and([
      sql`true`,
      ...(filter.status === undefined
        ? []
        : [
            filter.status === "stuck"
              ? sql`j.status <> 'finished' AND j.problem IS NOT NULL`
              : sql`j.status = ${filter.status}`
          ]),
      // What the partial index has is what recovery looks for.
      ...(filter.status === "running" || filter.status === "compensating" ? [sql`j.status <> 'finished'`] : []),
      ...(filter.resource === undefined ? [] : [sql`j.resources @> ARRAY[${filter.resource}]::text[]`]),
      ...(filter.saga === undefined ? [] : [sql`j.saga = ${filter.saga}`]),
      ...(filter.before === undefined
        ? []
        : [sql`j.opened_at < ${DateTime.formatIso(filter.before)}::text::timestamptz`]),
      ...(filter.after === undefined
        ? []
        : [
            sql`(j.opened_at, j.saga_id) > (SELECT opened_at, saga_id FROM saga_journal WHERE saga_id = ${filter.after})`
          ])
    ])

  return {
    keeps: true,
    open: Effect.fnUntraced(function* (saga, records = []) {
      while (true) {
        const others = yield* Effect.mapError(
          Effect.flatMap(
            apply({ op: "open", ...saga, payload: toJsonb(saga.payload), records: storable(records) }),
            Schema.decodeUnknownEffect(Refusal)
          ),
          failed("open")
        )
        if (others.length === 0) return []
        const found = yield* select(sql.in("j.saga_id", others), sql`j.fence DESC`, others.length)
        const unfinished = found.filter((journal) => journal.status !== "finished")
        if (unfinished.length > 0) return unfinished
      }
    }),
    append: ({ sagaId }, owner, records) => asked({ op: "append", sagaId, owner, records: storable(records) }),
    close: ({ sagaId }, owner, records, end) =>
      asked({ op: "close", sagaId, owner, records: storable(records), ...end }),
    claim: ({ sagaId }, from, to) => asked({ op: "claim", sagaId, from, to }),
    note: ({ sagaId }, problem) =>
      Effect.asVoid(
        Effect.mapError(
          bounded(
            sql`UPDATE saga_journal SET problem = ${toText(problem)} WHERE saga_id = ${sagaId} AND status <> 'finished'`,
            PATIENCE
          ),
          failed("note")
        )
      ),
    get: (sagaId) => Effect.map(select(sql`j.saga_id = ${sagaId}`, oldestFirst, 1), ([journal]) => journal),
    list: (filter = {}) => select(conditions(filter), oldestFirst, filter.limit ?? 100),
    purge: (finishedBefore) =>
      Effect.map(
        Effect.mapError(
          sql<{ n: number }>`
            WITH gone AS (
              DELETE FROM saga_journal
              WHERE status = 'finished' AND updated_at < ${DateTime.formatIso(finishedBefore)}::text::timestamptz
              RETURNING saga_id
            ), records AS (
              DELETE FROM saga_journal_records WHERE saga_id IN (SELECT saga_id FROM gone)
            )
            SELECT count(*)::int AS n FROM gone`,
          failed("purge")
        ),
        ([row]) => row?.n ?? 0
      )
  } satisfies SagaJournal
})

/** The tables as they are: for programs that migrate by other means. */
export const layerWithoutMigrations: Layer.Layer<never, never, SqlClient> = Layer.effect(SagaJournal, make)

/** Migrates first; a database that cannot be reached or migrated at the start is a defect with its cause. */
export const layer: Layer.Layer<never, never, SqlClient> = Layer.unwrap(
  Effect.as(Effect.orDie(migrate), layerWithoutMigrations)
)
