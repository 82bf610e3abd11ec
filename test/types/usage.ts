import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { DeadLetterQueue, IoRedis, Saga, SagaLive, SagaMemory, Step } from "effect-saga"

// ---- two stores of the application ----------------------------------------
class Document extends Schema.Class<Document>("Document")({ uuid: Schema.String, title: Schema.String }) {}
class StoreError extends Schema.TaggedError<StoreError>()("StoreError", { transient: Schema.Boolean }) {}
class OutOfQuota extends Schema.TaggedError<OutOfQuota>()("OutOfQuota", {}) {}
class Documents extends Context.Service<
  Documents,
  {
    readonly find: (uuid: string) => Effect.Effect<Option.Option<Document>, StoreError>
    readonly upsert: (d: Document) => Effect.Effect<void, StoreError, Step.SagaRun>
    readonly restore: (uuid: string, before: Option.Option<Document>) => Effect.Effect<void, StoreError, Step.SagaRun>
  }
>()("app/Documents") {}
class Graph extends Context.Service<
  Graph,
  {
    readonly merge: (d: Document) => Effect.Effect<number, StoreError | OutOfQuota, Step.SagaRun>
    readonly remove: (uuid: string) => Effect.Effect<void, StoreError, Step.SagaRun>
  }
>()("app/Graph") {}
class Cache extends Context.Service<
  Cache,
  {
    readonly put: (d: Document) => Effect.Effect<void, StoreError>
  }
>()("app/Cache") {}

// ---- steps ----------------------------------------------------------------
const upsertDocument = Step.make("postgres.upsert", {
  input: Document,
  before: Schema.Option(Document),
  error: StoreError,
  dependency: "postgres",
  prepare: (doc) => Effect.flatMap(Documents, (_) => _.find(doc.uuid)),
  execute: (doc) => Effect.flatMap(Documents, (_) => _.upsert(doc)),
  compensate: (doc, { before }) => Effect.flatMap(Documents, (_) => _.restore(doc.uuid, before)),
  isTransient: (e) => e.transient
})
const mergeNode = Step.make("neo4j.merge", {
  input: Document,
  output: Schema.Int,
  error: Schema.Union([StoreError, OutOfQuota]),
  dependency: "neo4j",
  execute: (doc) => Effect.flatMap(Graph, (_) => _.merge(doc)),
  compensate: (doc) => Effect.flatMap(Graph, (_) => _.remove(doc.uuid)), // only what this saga stamped
  isTransient: (e) => e._tag === "StoreError" && e.transient,
  notApplied: (e) => e._tag === "OutOfQuota"
})
const warmCache = Step.retriable("redis.put", {
  input: Document,
  error: StoreError,
  dependency: "redis",
  execute: (doc) => Effect.flatMap(Cache, (_) => _.put(doc))
})

// ---- a saga is an Effect program over its steps ---------------------------
export const ingest = Saga.make("IngestDocument", {
  payload: Document,
  success: Schema.Struct({ nodeId: Schema.Int }),
  error: Schema.Union([StoreError, OutOfQuota]),
  resource: (doc) => doc.uuid,
  steps: [upsertDocument, mergeNode, warmCache],
  run: Effect.fn(function* (doc) {
    const [, nodeId] = yield* Effect.all([upsertDocument(doc), mergeNode(doc)], { concurrency: "unbounded" })
    yield* warmCache(doc)
    return { nodeId }
  })
})

const doc = new Document({ uuid: "1", title: "x" })
export const program: Effect.Effect<
  { readonly nodeId: number },
  StoreError | OutOfQuota | Saga.SagaError,
  Documents | Graph | Cache | Saga.SagaServices
> = ingest.execute(doc)

// ---- what must not compile ------------------------------------------------
const forgetful = Saga.make("Forgetful", {
  payload: Document,
  error: Schema.Union([StoreError, OutOfQuota]),
  resource: (doc) => doc.uuid,
  steps: [upsertDocument],
  run: Effect.fn(function* (doc) {
    yield* upsertDocument(doc)
    yield* mergeNode(doc)
  })
})
// @ts-expect-error "neo4j.merge" is not listed, so it could never be redriven
export const unlisted: Effect.Effect<void, unknown, Documents | Graph | Saga.SagaServices> = forgetful.execute(doc)
// @ts-expect-error a step outside a saga
export const outside: Effect.Effect<unknown, unknown, Documents> = upsertDocument(doc)
Saga.make("Undeclared", {
  payload: Document,
  error: StoreError,
  resource: (doc) => doc.uuid,
  steps: [mergeNode],
  // @ts-expect-error OutOfQuota is not among the declared errors
  run: (doc) => Effect.asVoid(mergeNode(doc))
})

// ---- errors are handled by tag and by reason ------------------------------
export const handled = program.pipe(
  Effect.catchReason("LockError", "LockTimeout", (r) => Effect.logInfo(`${r.resource} is busy`)),
  Effect.catchReason("CircuitBreakerError", "CircuitOpen", (r) => Effect.logInfo(`try again in ${r.retryAfter}`)),
  Effect.catchTag("CompensationError", (e) =>
    Effect.logError(`see dead letters ${e.failures.map((f) => f.deadLetterId)}`)
  )
)

// ---- tests swap the world -------------------------------------------------
declare const StoresMemory: Layer.Layer<Documents | Graph | Cache>
it.effect("undoes the row when the graph refuses", () =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(ingest.execute(doc))
    assert.strictEqual(error._tag, "OutOfQuota")
    assert.isTrue(Option.isNone(yield* (yield* Documents).find(doc.uuid)))
    assert.strictEqual(yield* (yield* DeadLetterQueue).size, 0)
  }).pipe(Effect.provide([SagaMemory.layer, StoresMemory]))
)

// ---- embedded in an HTTP server -------------------------------------------
export declare const StoresLive: Layer.Layer<Documents | Graph | Cache>
declare const SqlLive: Layer.Layer<import("effect/sql").SqlClient.SqlClient>
export const Sagas = SagaLive.layerConfig.pipe(Layer.provide([IoRedis.layer({ host: "127.0.0.1" }), SqlLive]))
export const Routes = HttpRouter.add(
  "POST",
  "/documents/:uuid",
  Effect.gen(function* () {
    const receipt = yield* ingest.executeReceipt(doc)
    return HttpServerResponse.jsonUnsafe(receipt.value, {
      headers: { "idempotent-replayed": String(receipt.replayed) }
    })
  })
).pipe(Layer.provide([Sagas, StoresLive]))
