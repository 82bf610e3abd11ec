/** The document rows in PostgreSQL (or PGlite), by the table of `migrations/0100_documents.sql`. */
import { Effect, Layer, Option, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { Step } from "../../index.ts"
import { migrate } from "../../layers/sql/Migrations.ts"
import { Document } from "../Document.ts"
import { Rejected, refused, StoreError, Unavailable } from "../StoreError.ts"
import { DocumentStore, type Image, nothing, type Stamp } from "../Stores.ts"

const transientReasons: ReadonlySet<string> = new Set([
  "ConnectionError",
  "DeadlockError",
  "SerializationError",
  "LockTimeoutError",
  "StatementTimeoutError",
  "UnknownError"
])

/** After these the statement was rolled back or never arrived; a connection that broke in the middle proves nothing. */
const notAppliedReasons: ReadonlySet<string> = new Set([
  "ConstraintError",
  "UniqueViolation",
  "SqlSyntaxError",
  "DeadlockError",
  "SerializationError",
  "LockTimeoutError",
  "AuthenticationError",
  "AuthorizationError"
])

const storeError = (operation: string) => (error: SqlError) => {
  const transient = transientReasons.has(error.reason._tag)
  return new StoreError({
    store: "postgres",
    operation,
    transient,
    applied: notAppliedReasons.has(error.reason._tag) ? "no" : "unknown",
    reason: transient ? new Unavailable({ cause: error }) : new Rejected({ problem: error.message })
  })
}

const Stored = Schema.toCodecJson(Document)

interface Row {
  readonly document: unknown
  readonly stamp_saga: string | null
  readonly stamp_call: number | null
}

interface Written {
  /** Only a row that the statement itself wrote counts: the other is of its snapshot, and may be older. */
  readonly applied: boolean
  /** As text: it has 64 bits. */
  readonly floor: string
}

const make = Effect.gen(function* () {
  const sql = yield* SqlClient

  /**
   * One statement: the floor rises if it may, and only then the row changes; a refused writer sees the floor that
   * refused it. The lock that the conflict takes on the row makes both one step.
   */
  const write = Effect.fnUntraced(function* (
    operation: string,
    uuid: string,
    document: string | null,
    /** Given: puts it back, if this saga wrote since. */
    restored?: Option.Option<typeof Stamp.Type>
  ): Effect.fn.Return<void, StoreError, Step.SagaRun> {
    const { call, fence, sagaId } = yield* Step.SagaRun
    const restoring = restored !== undefined
    const stamp = Option.getOrUndefined(restored ?? Option.some({ sagaId, call }))
    const stampSaga = stamp?.sagaId ?? null
    const stampCall = stamp?.call ?? null
    const changes = restoring
      ? sql`documents.stamp_saga IS NOT DISTINCT FROM ${sagaId}::text`
      : sql`NOT (documents.stamp_saga IS NOT DISTINCT FROM ${sagaId}::text AND documents.stamp_call IS NOT DISTINCT FROM ${call}::int)`
    const first = restoring
      ? sql`NULL::jsonb, NULL::text, NULL::int`
      : sql`${document}::text::jsonb, ${sagaId}::text, ${call}::int`
    const rows = yield* sql<Written>`
      WITH written AS (
        INSERT INTO documents (uuid, floor, floor_saga, document, stamp_saga, stamp_call)
        SELECT ${uuid}::uuid, ${String(fence)}::bigint, ${sagaId}::text, ${first}
        ON CONFLICT (uuid) DO UPDATE SET
          floor = EXCLUDED.floor,
          floor_saga = EXCLUDED.floor_saga,
          document = CASE WHEN ${changes} THEN ${document}::text::jsonb ELSE documents.document END,
          stamp_saga = CASE WHEN ${changes} THEN ${stampSaga}::text ELSE documents.stamp_saga END,
          stamp_call = CASE WHEN ${changes} THEN ${stampCall}::int ELSE documents.stamp_call END,
          updated_at = now()
        WHERE documents.floor < EXCLUDED.floor
          OR (documents.floor = EXCLUDED.floor AND documents.floor_saga = EXCLUDED.floor_saga)
        RETURNING floor::text
      )
      SELECT true AS applied, floor FROM written
      UNION ALL
      SELECT false, floor::text FROM documents
      WHERE uuid = ${uuid}::uuid AND NOT EXISTS (SELECT 1 FROM written)
    `.pipe(Effect.mapError(storeError(operation)))
    const [row] = rows
    if (row?.applied === true) return
    return yield* refused("postgres", operation, uuid, Number(row?.floor ?? fence), fence)
  })

  const encode = (document: Document) => JSON.stringify(Schema.encodeSync(Stored)(document))

  const image = Effect.fnUntraced(function* (uuid: string): Effect.fn.Return<Image, StoreError> {
    const [row] = yield* Effect.mapError(
      sql<Row>`SELECT document, stamp_saga, stamp_call FROM documents WHERE uuid = ${uuid}::uuid`,
      storeError("find")
    )
    if (row === undefined) return nothing
    const stamp =
      row.stamp_saga === null || row.stamp_call === null
        ? Option.none()
        : Option.some({ sagaId: row.stamp_saga, call: row.stamp_call })
    if (row.document === null) return { document: Option.none(), stamp }
    const document = yield* Effect.mapError(
      Schema.decodeUnknownEffect(Stored)(row.document),
      (error) =>
        new StoreError({
          store: "postgres",
          operation: "find",
          transient: false,
          applied: "no",
          reason: new Rejected({ problem: `the row ${uuid} is not a document: ${error.message}` })
        })
    )
    return { document: Option.some(document), stamp }
  })

  return DocumentStore.of({
    find: (uuid) => Effect.map(image(uuid), ({ document }) => document),
    image,
    upsert: (document) => write("upsert", document.uuid, encode(document)),
    remove: (uuid) => write("remove", uuid, null),
    restore: (uuid, { document, stamp }) =>
      write("restore", uuid, Option.getOrNull(Option.map(document, encode)), stamp)
  })
})

/** Migrates first. */
export const layer: Layer.Layer<DocumentStore, never, SqlClient> = Layer.effect(
  DocumentStore,
  Effect.andThen(Effect.orDie(migrate), make)
)
