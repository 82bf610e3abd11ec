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
import { keep, kept, makeKeptSagas, recordsOf, recordsText } from "../journal/JournalText.ts"
import { opening } from "../journal/Opening.ts"
import { bounded } from "../spool/Bounded.ts"
import { makeJournalWrites, PATIENCE } from "./JournalWrites.ts"
import { toText } from "./Jsonb.ts"
import { migrate } from "./Migrations.ts"

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
  result: Schema.NullOr(Schema.String),
  payload: Schema.NullOr(Schema.String),
  records: Schema.NullOr(Schema.Array(Schema.String)),
  last: Schema.NullOr(Schema.String),
  openedAt: Schema.DateTimeUtcFromString,
  updatedAt: Schema.DateTimeUtcFromString
})

const time = (value: string) => `to_char(${value} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`

const COLUMNS = `j.saga_id AS "sagaId", j.saga, j.version, j.resources, j.fence::text, j.owner::text, j.status, j.outcome,
  j.problem, j.key, j.derived, j.fingerprint, j.result, r.payload, r.records, j.last,
  ${time("j.opened_at")} AS "openedAt", ${time("greatest(j.updated_at, r.written_at)")} AS "updatedAt"`

const decodeRows = Schema.decodeUnknownEffect(Schema.Array(Row))
const decodeRecords = Schema.decodeUnknownEffect(Schema.Array(JournalRecord))

const journalOf = ({ last, payload, records, ...row }: typeof Row.Type) =>
  Effect.try({
    try: () => {
      const paid: unknown = payload === null ? null : JSON.parse(payload)
      return { paid, stored: recordsOf([...(records ?? []), ...(last === null ? [] : [last])], paid) }
    },
    catch: (cause) => cause
  }).pipe(
    Effect.flatMap(({ paid, stored }) =>
      Effect.map(decodeRecords(stored), (all) => new Journal({ ...row, payload: paid, records: all }))
    )
  )

const make = Effect.gen(function* () {
  const sql = yield* SqlClient
  const failed = (operation: string) => (cause: unknown) => new JournalError({ operation, cause })
  const writes = yield* makeJournalWrites
  const sagas = makeKeptSagas()

  const select = Effect.fnUntraced(
    function* (where: Fragment, order: Fragment, limit: number) {
      const statement = sql`
        SELECT ${sql.literal(COLUMNS)}
        FROM (SELECT * FROM saga_journal j WHERE ${where} ORDER BY ${order} LIMIT ${limit}) j
        LEFT JOIN LATERAL (
          SELECT array_agg(records ORDER BY seq) AS records, max(payload) AS payload, max(written_at) AS written_at
          FROM saga_journal_records WHERE journal = j.journal
        ) r ON true
        ORDER BY ${order}`
      const rows = yield* bounded(statement, PATIENCE)
      return yield* Effect.forEach(yield* decodeRows(rows), journalOf)
    },
    Effect.mapError(failed("read"))
  )
  /** Those that are still unfinished. */
  const inTheWay = (sagaIds: ReadonlyArray<string>) =>
    Effect.map(select(sql.in("j.saga_id", sagaIds), sql`j.fence DESC`, sagaIds.length), (found) =>
      found.filter((journal) => journal.status !== "finished")
    )
  const moment = (at: DateTime.Utc): Fragment => sql`${DateTime.formatIso(at)}::text::timestamptz`
  const oldestFirst = sql`j.opened_at, j.journal`
  // Of the unfinished there are few: each is looked up by its id, however many have finished.
  const unfinished = sql`j.saga_id IN (SELECT saga_id FROM saga_open_resources)`
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
      ...(filter.status === undefined || filter.status === "finished" ? [] : [unfinished]),
      ...(filter.resource === undefined ? [] : [sql`j.resources @> ARRAY[${filter.resource}]::text[]`]),
      ...(filter.saga === undefined ? [] : [sql`j.saga = ${filter.saga}`]),
      ...(filter.before === undefined ? [] : [sql`j.opened_at < ${moment(filter.before)}`]),
      ...(filter.after === undefined
        ? []
        : [
            sql`(j.opened_at, j.journal) > (SELECT opened_at, journal FROM saga_journal WHERE saga_id = ${filter.after})`
          ])
    ])

  return {
    keeps: true,
    open: (saga, records = []) => {
      const own = kept(saga)
      const { text } = recordsText(records, own)
      // If it was open already its payload is this one, but the records were not written.
      return opening(writes.open({ ...saga, payload: own.payload.text, records: text }), inTheWay, () =>
        sagas.opened(saga, own)
      )
    },
    append: (ref, owner, records) => {
      const own = sagas.of(ref)
      const texts = recordsText(records, own)
      const undoing = records.some(({ _tag }) => _tag === "Undoing")
      return Effect.matchEffect(writes.append({ sagaId: ref.sagaId, owner, records: texts.text, undoing }), {
        onFailure: (cause) => Effect.fail(failed("append")(cause)),
        onSuccess: (written) => {
          if (written && own !== undefined) keep(own, texts)
          return Effect.succeed(written)
        }
      })
    },
    close: (ref, owner, records, end) =>
      Effect.mapError(
        writes.close({ sagaId: ref.sagaId, owner, records: recordsText(records, sagas.of(ref)).text, ...end }),
        failed("close")
      ),
    // Of those who claim from one owner, one gets the journal: the row's lock makes comparing and changing one step.
    claim: ({ sagaId }, from, to) => {
      if (to <= from) return Effect.succeed(false)
      return Effect.mapBoth(
        bounded(
          sql`UPDATE saga_journal SET owner = ${to}, updated_at = clock_timestamp()
              WHERE saga_id = ${sagaId} AND owner = ${from} AND status <> 'finished'
              RETURNING journal`,
          PATIENCE
        ),
        { onFailure: failed("claim"), onSuccess: (rows) => rows.length > 0 }
      )
    },
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
              WHERE status = 'finished' AND updated_at < ${moment(finishedBefore)} AND opened_at < ${moment(finishedBefore)}
              RETURNING journal
            ), records AS (
              DELETE FROM saga_journal_records WHERE journal IN (SELECT journal FROM gone)
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
