/** Dead letters in PostgreSQL (or PGlite): the table and functions of `migrations/0001_dead_letter_queue.sql`. */
import { DateTime, Effect, Layer, Metric, Schedule, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import {
  DeadLetter,
  type DeadLetterFilter,
  DeadLetterKind,
  DeadLetterPriority,
  DeadLetterStatus,
  deadLetterId,
  type NewDeadLetter
} from "../../schema/DeadLetter.ts"
import { DeadLetterError } from "../../schema/DeadLetterError.ts"
import { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import { deadLetterQueueSize } from "../../services/Metrics.ts"
import { migrate } from "./Migrations.ts"

/** What the drivers give: numbers of 64 bits come as text, times as text by our own formatting. */
const Row = Schema.Struct({
  id: Schema.String,
  kind: DeadLetterKind,
  status: DeadLetterStatus,
  priority: DeadLetterPriority,
  database: Schema.String,
  operation: Schema.String,
  saga: Schema.String,
  sagaVersion: Schema.Int,
  sagaId: Schema.String,
  step: Schema.String,
  call: Schema.Int,
  resources: Schema.Array(Schema.String),
  fence: Schema.FiniteFromString,
  input: Schema.Unknown,
  before: Schema.Unknown,
  output: Schema.Unknown,
  errorType: Schema.String,
  errorMessage: Schema.String,
  metadata: Schema.Unknown,
  retryCount: Schema.Int,
  createdAt: Schema.DateTimeUtcFromString,
  dueAt: Schema.DateTimeUtcFromString
})

const time = (column: string) => `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`

const COLUMNS = `id::text, kind, status, priority, database, operation, saga, saga_version AS "sagaVersion",
  saga_id AS "sagaId", step, call, resources, fence::text, payload AS input, before, result AS output,
  error_type AS "errorType", error_message AS "errorMessage", metadata, retry_count AS "retryCount",
  ${time("created_at")} AS "createdAt", ${time("due_at")} AS "dueAt"`

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

const storeError = (cause: unknown) => new DeadLetterError({ reason: { _tag: "StoreError", cause } })

/** Where an entry goes that the table does not take. */
export type Fallback = (id: string, entry: NewDeadLetter, cause: unknown) => Effect.Effect<void>

/** The last resort: one JSON line, at Fatal. */
export const logFallback: Fallback = (id, entry, cause) =>
  Effect.logFatal(
    JSON.stringify({ deadLetter: { id, ...entry, dueAt: DateTime.formatIso(entry.dueAt) }, cause: String(cause) })
  )

const make = Effect.fnUntraced(function* (fallback: Fallback) {
  const sql = yield* SqlClient

  const size = sql<{ n: number }>`
    SELECT count(*)::int AS n FROM dead_letter_queue WHERE status IN ('pending', 'retrying')
  `.pipe(
    Effect.map((rows) => rows[0]?.n ?? 0),
    Effect.tap((n) => Metric.update(deadLetterQueueSize, n))
  )
  // Other processes add and close entries too.
  yield* Effect.forkScoped(Effect.repeat(Effect.ignore(size), Schedule.spaced("15 seconds")))

  const select = (where: Fragment, limit: number) =>
    Effect.flatMap(
      sql`SELECT ${sql.literal(COLUMNS)} FROM dead_letter_queue WHERE ${where} ORDER BY created_at, id LIMIT ${limit}`,
      Schema.decodeUnknownEffect(Schema.Array(Row))
    ).pipe(
      Effect.map((rows) => rows.map((row) => new DeadLetter(row))),
      Effect.mapError(storeError)
    )
  const notFound = (id: string) => new DeadLetterError({ reason: { _tag: "NotFound", id } })
  const get = Effect.fnUntraced(function* (id: string) {
    const found = uuid.test(id) ? yield* select(sql`id = ${id}::uuid`, 1) : []
    return found[0] ?? (yield* notFound(id))
  })
  const close = (status: "resolved" | "discarded") =>
    Effect.fnUntraced(function* (id: string, by: string, notes: string) {
      const letter = yield* get(id)
      const closed = yield* Effect.mapError(
        sql<{ closed: boolean }>`SELECT dlq_resolve(${id}::uuid, ${status}, ${by}, ${notes}) AS closed`,
        storeError
      )
      if (closed[0]?.closed !== true) {
        const problem = `it is ${letter.status} already`
        return yield* new DeadLetterError({ reason: { _tag: "NotRedrivable", id, problem } })
      }
      yield* Effect.ignore(size)
    })
  const conditions = (filter: DeadLetterFilter): Fragment =>
    sql.and([
      sql`true`,
      ...(filter.status === undefined ? [] : [sql`status = ${filter.status}`]),
      ...(filter.saga === undefined ? [] : [sql`saga = ${filter.saga}`]),
      ...(filter.database === undefined ? [] : [sql`database = ${filter.database}`]),
      ...(filter.after === undefined
        ? []
        : [
            uuid.test(filter.after)
              ? sql`(created_at, id) > (SELECT created_at, id FROM dead_letter_queue WHERE id = ${filter.after}::uuid)`
              : sql`false`
          ])
    ])

  return DeadLetterQueue.of({
    add: Effect.fnUntraced(function* (entry) {
      const id = deadLetterId(entry)
      const json = JSON.stringify({
        id,
        kind: entry.kind,
        priority: entry.priority,
        database: entry.database,
        operation: entry.operation,
        saga: entry.saga,
        saga_version: entry.sagaVersion,
        saga_id: entry.sagaId,
        step: entry.step,
        call: entry.call,
        resources: entry.resources,
        fence: entry.fence,
        payload: entry.input,
        before: entry.before,
        result: entry.output,
        error_type: entry.errorType,
        error_message: entry.errorMessage,
        metadata: entry.metadata,
        due_at: DateTime.formatIso(entry.dueAt)
      })
      yield* sql<{ added: boolean }>`SELECT dlq_add_entry(${json}::text::jsonb) AS added`.pipe(
        Effect.matchCauseEffect({
          onSuccess: () => Effect.ignore(size),
          onFailure: (cause) => fallback(id, entry, cause)
        })
      )
      return id
    }),
    get,
    list: (filter = {}) => select(conditions(filter), filter.limit ?? 100),
    resolve: close("resolved"),
    discard: close("discarded"),
    stats: Effect.mapError(
      Effect.map(sql<{ status: string; n: number }>`SELECT status, entries::int AS n FROM dlq_get_stats()`, (rows) => {
        const count = (status: string) => rows.find((row) => row.status === status)?.n ?? 0
        return {
          pending: count("pending"),
          retrying: count("retrying"),
          resolved: count("resolved"),
          discarded: count("discarded")
        }
      }),
      storeError
    ),
    size: Effect.mapError(size, storeError)
  })
})

/** The table as it is: for programs that migrate by other means. */
export const layerWithoutMigrations: Layer.Layer<DeadLetterQueue, never, SqlClient> = Layer.effect(
  DeadLetterQueue,
  make(logFallback)
)

/** Migrates first; a database that cannot be reached or migrated at the start is a defect with its cause. */
export const layer: Layer.Layer<DeadLetterQueue, never, SqlClient> = Layer.unwrap(
  Effect.as(Effect.orDie(migrate), layerWithoutMigrations)
)
