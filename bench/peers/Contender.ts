/**
 * The document saga as a server would have it: layers built once, `runPromise` a request, shipped defaults on real Redis and
 * PostgreSQL. The three steps are the harness's own writes, so every contender does the same input and output.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, ManagedRuntime, Redacted, Schema } from "effect"
import { IoRedis, Saga, SagaLive, SagaRecovery, Step } from "../../src/index.ts"

/** The null embedding is how the harness has the third write refused: NOT NULL, after a real round trip. */
const Doc = Schema.Struct({
  uuid: Schema.String,
  title: Schema.String,
  body: Schema.String,
  embedding: Schema.NullOr(Schema.Array(Schema.Finite))
})
type Doc = typeof Doc.Type

/**
 * A write refused for good (SQLSTATE class 23: integrity) or one that may succeed later. A plain value, as the text is that
 * the harness's own Effect contenders fail with: a class would capture a stack that nobody reads.
 */
const StoreError = Schema.TaggedStruct("StoreError", { refused: Schema.Boolean, message: Schema.String })

type Insert = (doc: Doc, key: string) => Promise<number>
type Delete = (doc: Doc, key: string) => Promise<void>

/** What the harness hands to a contender, as far as this one needs it. */
export interface Harness {
  readonly steps: {
    readonly insertDocument: Insert
    readonly insertNode: Insert
    readonly insertVector: Insert
    readonly deleteDocument: Delete
    readonly deleteNode: Delete
    readonly deleteVector: Delete
  }
  readonly redis: { readonly host: string; readonly port: number }
  readonly pgUrl: (database: string) => string
  readonly database: string
  /** A folder of the contender's own. */
  readonly dir: string
}

const isRefusal = (cause: unknown) =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" && cause.code.startsWith("23")

const storeError = (cause: unknown): typeof StoreError.Type => ({
  _tag: "StoreError",
  refused: isRefusal(cause),
  message: String(cause)
})

/** Rows are owned by the saga that wrote them: its id stands in the harness's `op_key`. */
const call = <A>(write: (doc: Doc, key: string) => Promise<A>, doc: Doc) =>
  Step.SagaRun.use(({ sagaId }) => Effect.tryPromise({ try: () => write(doc, sagaId), catch: storeError }))

const writing = <const Name extends string>(name: Name, dependency: string, insert: Insert, remove: Delete) =>
  Step.make(name, {
    input: Doc,
    output: Schema.Finite,
    error: StoreError,
    dependency,
    isTransient: ({ refused }) => !refused,
    notApplied: ({ refused }) => refused,
    execute: (doc) => call(insert, doc),
    compensate: (doc) => call(remove, doc)
  })

const sagaOver = ({ steps }: Harness) => {
  const insertDocument = writing("insertDocument", "documents", steps.insertDocument, steps.deleteDocument)
  const insertNode = writing("insertNode", "graph", steps.insertNode, steps.deleteNode)
  const insertVector = writing("insertVector", "vectors", steps.insertVector, steps.deleteVector)
  return Saga.make("Ingest", {
    payload: Doc,
    success: Schema.Struct({
      uuid: Schema.String,
      documentId: Schema.Finite,
      nodeId: Schema.Finite,
      vectorId: Schema.Finite
    }),
    error: StoreError,
    resource: ({ uuid }) => uuid,
    steps: [insertDocument, insertNode, insertVector],
    run: Effect.fnUntraced(function* (doc) {
      const documentId = yield* insertDocument(doc)
      const nodeId = yield* insertNode(doc)
      const vectorId = yield* insertVector(doc)
      return { uuid: doc.uuid, documentId, nodeId, vectorId }
    })
  })
}

const layerOf = (harness: Harness, journal: "none" | "redis" | "sql", saga: ReturnType<typeof sagaOver>) => {
  const live = SagaLive.layerWith({ journal, wait: "30 seconds", spoolFolder: `${harness.dir}/spool` })
  // A journal is kept to be recovered from, so the server that keeps one also sweeps.
  const all = journal === "none" ? live : SagaRecovery.layer({ sagas: [saga] }).pipe(Layer.provideMerge(live))
  return all.pipe(
    Layer.provide([
      IoRedis.layer(harness.redis),
      PgClient.layer({ url: Redacted.make(harness.pgUrl(`${harness.database}_sys`)), maxConnections: 16 })
    ])
  )
}

/** A contender of the harness: shipped defaults with this journal. */
export const contender = (journal: "none" | "redis" | "sql") => {
  let ingest: (doc: Doc, key: string) => Promise<unknown> = () => Promise.reject(new Error("setup comes first"))
  let teardown = () => Promise.resolve()
  return {
    setup: async (harness: Harness) => {
      const saga = sagaOver(harness)
      const runtime = ManagedRuntime.make(layerOf(harness, journal, saga))
      const run = Effect.runPromiseWith(await runtime.context())
      ingest = (doc, key) => run(saga.execute(doc, { idempotencyKey: key }))
      teardown = () => runtime.dispose()
    },
    ingest: (doc: Doc, key: string) => ingest(doc, key),
    ingestFailing: (doc: Doc, key: string) => ingest({ ...doc, embedding: null }, key),
    teardown: () => teardown()
  }
}
