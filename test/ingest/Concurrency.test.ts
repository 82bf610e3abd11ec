/** 200 requests at once over 20 documents from two processes: every store's write log shows one execution per key. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Redacted } from "effect"
import { IoRedis, Neo4jDriver, QdrantRest, type Saga, SagaLive, Step, type Toggles } from "effect-saga"
import {
  DocumentCache,
  DocumentStore,
  GraphStore,
  ingestDocument,
  Neo4jGraphStore,
  PostgresDocumentStore,
  QdrantVectorStore,
  RedisDocumentCache,
  type Store,
  VectorStore
} from "effect-saga/ingest"
import { documentOf } from "../contract/StoreContract.ts"
import { servers } from "../servers/inject.ts"

const { neo4j, postgres, qdrant, redis } = servers()

const DOCUMENTS = 20
const REQUESTS_EACH = 10

type Stores = DocumentStore | GraphStore | VectorStore | DocumentCache
type Process = Context.Context<Stores | Saga.SagaServices>
/** One line per write that a store took: which document, by which saga. */
type WriteLog = Array<{ readonly store: string; readonly uuid: string; readonly sagaId: string }>

const logging = (log: WriteLog, name: string, store: Store): Store => ({
  ...store,
  upsert: (document) =>
    Effect.flatMap(Step.SagaRun, ({ sagaId }) =>
      Effect.tap(store.upsert(document), () =>
        Effect.sync(() => log.push({ store: name, uuid: document.uuid, sagaId }))
      )
    )
})

const logged = (process: Process, log: WriteLog): Process => {
  const cache = Context.get(process, DocumentCache)
  return process.pipe(
    Context.add(DocumentStore, logging(log, "postgres", Context.get(process, DocumentStore))),
    Context.add(GraphStore, logging(log, "neo4j", Context.get(process, GraphStore))),
    Context.add(VectorStore, logging(log, "qdrant", Context.get(process, VectorStore))),
    Context.add(DocumentCache, {
      ...cache,
      put: (document) =>
        Effect.flatMap(Step.SagaRun, ({ sagaId }) =>
          Effect.tap(cache.put(document), () =>
            Effect.sync(() => log.push({ store: "redis", uuid: document.uuid, sagaId }))
          )
        )
    })
  )
}

describe.skipIf([neo4j, postgres, qdrant, redis].includes(null))("200 requests at once on real servers", () => {
  const clients = Layer.mergeAll(
    IoRedis.layerUrl(redis ?? ""),
    Neo4jDriver.layer({ url: neo4j ?? "" }),
    QdrantRest.layer({ url: qdrant ?? "" }),
    PgClient.layer({ url: Redacted.make(postgres ?? ""), maxConnections: 20 })
  )
  const stores = Layer.mergeAll(
    PostgresDocumentStore.layer,
    RedisDocumentCache.layer,
    Neo4jGraphStore.layer,
    QdrantVectorStore.layerWith({ size: 3, collection: "concurrency" })
  )
  const process = (toggles: Toggles) =>
    Layer.build(
      Layer.fresh(
        Layer.merge(SagaLive.layerWith({ ...toggles, wait: "1 minute" }), stores).pipe(
          Layer.provideMerge(Layer.fresh(clients))
        )
      )
    )

  /** Runs them all; yields what the stores wrote, and how many executions the callers were told of. */
  const storm = Effect.fnUntraced(function* (toggles: Toggles) {
    const log: WriteLog = []
    const one = logged(yield* process(toggles), log)
    const other = logged(yield* process(toggles), log)
    // A Neo4j that just started plans its first statement for seconds, longer than anybody waits for a lock.
    yield* Effect.provideContext(ingestDocument.execute(documentOf("warm-up")), one)
    log.length = 0
    const documents = Array.from({ length: DOCUMENTS }, (_, i) => documentOf(`document ${i}`))
    const requests = Array.from({ length: REQUESTS_EACH }, (_, round) =>
      documents.map((document) => ({ document, process: round % 2 === 0 ? one : other }))
    ).flat()
    const results = yield* Effect.forEach(
      requests,
      (request) =>
        Effect.result(Effect.provideContext(ingestDocument.executeReceipt(request.document), request.process)),
      { concurrency: "unbounded" }
    )
    const whole = yield* Effect.forEach(documents, ({ title, uuid }) =>
      Effect.gen(function* () {
        const found = [
          yield* (yield* DocumentStore).find(uuid),
          yield* (yield* GraphStore).find(uuid),
          yield* (yield* VectorStore).find(uuid),
          yield* (yield* DocumentCache).get(uuid)
        ]
        return found.every((one) => Option.isSome(one) && one.value.title === title)
      }).pipe(Effect.provideContext(one))
    )
    return { documents, log, results, whole }
  })

  const writesPerKey = (log: WriteLog) => {
    const counts = new Map<string, number>()
    for (const { store, uuid } of log) counts.set(`${store} ${uuid}`, (counts.get(`${store} ${uuid}`) ?? 0) + 1)
    return counts
  }

  it.live(
    "each document is written once in every store, and every request gets its result",
    () =>
      Effect.gen(function* () {
        const { documents, log, results, whole } = yield* storm({})
        assert.deepStrictEqual(
          results.filter((one) => one._tag === "Failure"),
          []
        )
        assert.strictEqual(results.filter((one) => one._tag === "Success" && !one.success.replayed).length, DOCUMENTS)
        const counts = writesPerKey(log)
        for (const store of ["postgres", "neo4j", "qdrant", "redis"]) {
          assert.deepStrictEqual(
            documents.map(({ uuid }) => counts.get(`${store} ${uuid}`)),
            documents.map(() => 1),
            store
          )
        }
        assert.deepStrictEqual(
          whole,
          documents.map(() => true)
        )
      }),
    120_000
  )

  it.live(
    "with locking and idempotency switched off the same test fails",
    () =>
      Effect.gen(function* () {
        const { log } = yield* storm({ locking: false, idempotency: false })
        assert.isAbove(Math.max(...writesPerKey(log).values()), 1)
      }),
    120_000
  )
})
