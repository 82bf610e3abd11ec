/** The document rows in PostgreSQL (or PGlite), by the table of `migrations/0100_documents.sql`. */
import { Effect, Layer, Option, Schema } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { Step } from "../../index.ts"
import { migrate } from "../../layers/sql/Migrations.ts"
import { Document } from "../Document.ts"
import { Rejected, refused, StoreError, Unavailable } from "../StoreError.ts"
import { DocumentStore } from "../Stores.ts"

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
    when: "notMine" | "mine",
    restoring: boolean
  ): Effect.fn.Return<void, StoreError, Step.SagaRun> {
    const { call, fence, sagaId } = yield* Step.SagaRun
    const stamp = restoring ? { saga: null, call: null } : { saga: sagaId, call }
    const changes =
      when === "mine"
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
          stamp_saga = CASE WHEN ${changes} THEN ${stamp.saga}::text ELSE documents.stamp_saga END,
          stamp_call = CASE WHEN ${changes} THEN ${stamp.call}::int ELSE documents.stamp_call END,
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

  return DocumentStore.of({
    find: Effect.fnUntraced(function* (uuid) {
      const rows = yield* Effect.mapError(
        sql<{ document: unknown }>`SELECT document FROM documents WHERE uuid = ${uuid}::uuid AND document IS NOT NULL`,
        storeError("find")
      )
      if (rows[0] === undefined) return Option.none()
      return Option.some(
        yield* Effect.mapError(
          Schema.decodeUnknownEffect(Stored)(rows[0].document),
          (error) =>
            new StoreError({
              store: "postgres",
              operation: "find",
              transient: false,
              applied: "no",
              reason: new Rejected({ problem: `the row ${uuid} is not a document: ${error.message}` })
            })
        )
      )
    }),
    upsert: (document) => write("upsert", document.uuid, encode(document), "notMine", false),
    remove: (uuid) => write("remove", uuid, null, "notMine", false),
    restore: (uuid, before) => write("restore", uuid, Option.getOrNull(Option.map(before, encode)), "mine", true)
  })
})

/** Migrates first. */
export const layer: Layer.Layer<DocumentStore, never, SqlClient> = Layer.effect(
  DocumentStore,
  Effect.andThen(Effect.orDie(migrate), make)
)
