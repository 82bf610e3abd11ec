/**
 * Dead letters in PostgreSQL (or PGlite): the table and functions of `migrations/0001_dead_letter_queue.sql` and
 * `0101_dead_letter_claims.sql`.
 *
 * **Details**
 *
 * What the table does not take within 3 seconds goes to every spool, each within 2; what no spool takes is logged at
 * Fatal as one JSON line and tried again for as long as the process lives. Every 5 seconds, and whenever a journal is to
 * be closed, the spools are drained into the table, by whichever process.
 */
import { type DateTime, Effect, Layer, Metric, Schedule, Schema, Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import { DeadLetter, type DeadLetterFilter } from "../../schema/DeadLetter.ts"
import { DeadLetterError } from "../../schema/DeadLetterError.ts"
import { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import { deadLetterQueueSize } from "../../services/Metrics.ts"
import { bounded } from "../spool/Bounded.ts"
import type { DeadLetterSpool } from "../spool/DeadLetterSpool.ts"
import { COLUMNS, DeadLetterRow, toTimestamp } from "./DeadLetterRow.ts"
import { toText } from "./Jsonb.ts"
import { migrate } from "./Migrations.ts"
import { makeSpooledAdd } from "./SpooledAdd.ts"

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

const storeError = (cause: unknown) => new DeadLetterError({ reason: { _tag: "StoreError", cause } })

export interface SqlDeadLetterQueueOptions {
  /** Where entries wait that the table does not take: all of them get each. None unless said: then log and memory. */
  readonly spools?: ReadonlyArray<DeadLetterSpool>
}

const make = Effect.fnUntraced(function* ({ spools = [] }: SqlDeadLetterQueueOptions) {
  const sql = yield* SqlClient
  const scope = yield* Scope.Scope
  const { add, drain, spooled } = yield* makeSpooledAdd(sql, spools)

  let inTable = 0
  const size = sql<{ n: number }>`
    SELECT count(*)::int AS n FROM dead_letter_queue WHERE status IN ('pending', 'retrying')
  `.pipe(
    Effect.flatMap(([row]) => {
      inTable = row?.n ?? 0
      return Effect.map(spooled, (n) => n + inTable)
    }),
    Effect.tap((n) => Metric.update(deadLetterQueueSize, n))
  )
  // What is spooled counts most while the table does not answer.
  const gauge = Effect.catch(bounded(size, "5 seconds"), () =>
    Effect.flatMap(spooled, (n) => Metric.update(deadLetterQueueSize, n + inTable))
  )
  // Other processes add and close entries too.
  yield* Effect.forkScoped(Effect.repeat(gauge, Schedule.spaced("15 seconds")))

  const select = (where: Fragment, limit: number) =>
    Effect.flatMap(
      sql`SELECT ${sql.literal(COLUMNS)} FROM dead_letter_queue WHERE ${where} ORDER BY created_at, id LIMIT ${limit}`,
      Schema.decodeUnknownEffect(Schema.Array(DeadLetterRow))
    ).pipe(
      Effect.map((rows) => rows.map((row) => new DeadLetter(row))),
      Effect.mapError(storeError)
    )
  // A claim that ended between the two statements is somebody else's by now.
  const claimedUntil = (until: DateTime.Utc, ids: ReadonlyArray<string>) =>
    select(
      sql`status = 'retrying' AND due_at = ${toTimestamp(until)}::timestamptz AND ${sql.in("id", ids)}`,
      ids.length
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
        sql<{ closed: boolean }>`SELECT dlq_resolve(${id}::uuid, ${status}, ${toText(by)}, ${toText(notes)}) AS closed`,
        storeError
      )
      if (closed[0]?.closed !== true) {
        const problem = `it is ${letter.status} already`
        return yield* new DeadLetterError({ reason: { _tag: "NotRedrivable", id, problem } })
      }
      yield* Effect.forkIn(gauge, scope)
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
    // The gauge may lag: nobody waits for it.
    add: (entry) => Effect.tap(add(entry), () => Effect.forkIn(gauge, scope)),
    get,
    list: (filter = {}) => select(conditions(filter), filter.limit ?? 100),
    resolve: close("resolved"),
    discard: close("discarded"),
    claim: Effect.fnUntraced(function* (id, until) {
      const letter = yield* get(id)
      const notRedrivable = (problem: string) => new DeadLetterError({ reason: { _tag: "NotRedrivable", id, problem } })
      if (letter.status !== "pending" && letter.status !== "retrying") {
        return yield* notRedrivable(`it is ${letter.status} already`)
      }
      const [found] = yield* Effect.mapError(
        sql<{ newer: string | null; claimed: boolean | null }>`
          SELECT newer::text, CASE WHEN newer IS NULL THEN dlq_retry(${id}::uuid, ${toTimestamp(until)}::timestamptz) END
            AS claimed
          FROM (SELECT dlq_newer(${id}::uuid) AS newer OFFSET 0) AS first`,
        storeError
      )
      if (found !== undefined && found.newer !== null) {
        return yield* notRedrivable(`the newer dead letter ${found.newer} goes first`)
      }
      return found?.claimed === true ? (yield* claimedUntil(until, [id]))[0] : undefined
    }),
    claimDue: Effect.fnUntraced(function* ({ limit, sagas, until }) {
      const claimed = yield* Effect.mapError(
        sql<{ id: string }>`
          SELECT id::text FROM dlq_claim_due(
            ARRAY(SELECT jsonb_array_elements_text(${JSON.stringify(sagas)}::text::jsonb)), ${limit}::int,
            ${toTimestamp(until)}::timestamptz
          ) AS id`,
        storeError
      )
      if (claimed.length === 0) return []
      return yield* claimedUntil(
        until,
        claimed.map(({ id }) => id)
      )
    }),
    release: (claimed, { counts, dueAt, error, problem }) =>
      Effect.asVoid(
        Effect.mapError(
          sql`SELECT dlq_release(
            ${claimed.id}::uuid, ${claimed.retryCount}::int, ${toTimestamp(dueAt)}::timestamptz, ${counts}::boolean,
            ${error === undefined ? null : toText(error.type)}::text,
            ${error === undefined ? null : toText(error.message)}::text,
            ${problem === undefined ? null : toText(problem)}::text
          )`,
          storeError
        )
      ),
    purge: Effect.fnUntraced(function* (closedBefore) {
      // An entry that comes out of a spool after its row was purged would be open again.
      if (!(yield* drain)) {
        yield* Effect.logWarning("nothing is purged while dead letters are spooled")
        return 0
      }
      const rows = yield* Effect.mapError(
        sql<{ n: number }>`
          WITH gone AS (
            DELETE FROM dead_letter_queue
            WHERE status IN ('resolved', 'discarded') AND resolved_at < ${toTimestamp(closedBefore)}::timestamptz
            RETURNING 1
          )
          SELECT count(*)::int AS n FROM gone`,
        storeError
      )
      return rows[0]?.n ?? 0
    }),
    drained: drain,
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
export const layerWithoutMigrations = (
  options: SqlDeadLetterQueueOptions = {}
): Layer.Layer<DeadLetterQueue, never, SqlClient> => Layer.effect(DeadLetterQueue, make(options))

/** Migrates first; a database that cannot be reached or migrated at the start is a defect with its cause. */
export const layerWith = (options: SqlDeadLetterQueueOptions): Layer.Layer<DeadLetterQueue, never, SqlClient> =>
  Layer.unwrap(Effect.as(Effect.orDie(migrate), layerWithoutMigrations(options)))

export const layer: Layer.Layer<DeadLetterQueue, never, SqlClient> = layerWith({})
