/** The document saga end to end: in memory under virtual time, and with the real PostgreSQL and Redis. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect, Fiber, Layer, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import {
  DeadLetterQueue,
  IoRedis,
  Neo4jDriver,
  QdrantRest,
  type Saga,
  SagaLive,
  SagaMemory,
  Step,
  type Toggles
} from "effect-saga"
import {
  DocumentCache,
  DocumentStore,
  GraphStore,
  Ingest,
  ingestDocument,
  MemoryStores,
  Neo4jGraphStore,
  PostgresDocumentStore,
  QdrantVectorStore,
  RedisDocumentCache,
  Rejected,
  removeDocument,
  type Store,
  StoreError,
  VectorStore
} from "effect-saga/ingest"
import { documentOf } from "../contract/StoreContract.ts"
import { servers } from "../servers/inject.ts"

const memory = Layer.merge(SagaMemory.layer, MemoryStores.layer)

type Stores = DocumentStore | GraphStore | VectorStore | DocumentCache
const everywhere = (uuid: string) =>
  Effect.gen(function* () {
    const found = [
      yield* (yield* DocumentStore).find(uuid),
      yield* (yield* GraphStore).find(uuid),
      yield* (yield* VectorStore).find(uuid)
    ]
    return found.map((one) => Option.getOrUndefined(Option.map(one, (document) => document.title)))
  })
const cached = (uuid: string) =>
  Effect.map(
    Effect.flatMap(DocumentCache, (cache) => cache.get(uuid)),
    (found) => Option.getOrUndefined(Option.map(found, (document) => document.title))
  )

const unwilling = (store: StoreError["store"], applied: "no" | "unknown") =>
  Effect.fail(
    new StoreError({ store, operation: "test", transient: false, applied, reason: new Rejected({ problem: "no" }) })
  )

/** The store with some of its operations replaced, for the rest of the program. */
const replacing =
  <Self>(tag: Context.Service<Self, Store>, change: (store: Store) => Partial<Store>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(tag, (store) => Effect.provideService(effect, tag, { ...store, ...change(store) }))

/** The behaviours that hold whatever the stores are made of. */
const behaves = (layer: Layer.Layer<Stores | Saga.SagaServices, unknown>) =>
  it.layer(layer, { excludeTestServices: true, timeout: 60_000 })((test) => {
    test.effect("puts a document into every store, and a repeat runs nothing", () =>
      Effect.gen(function* () {
        const document = documentOf("v1")
        const first = yield* ingestDocument.executeReceipt(document)
        const second = yield* ingestDocument.executeReceipt(document)
        assert.deepStrictEqual([first.replayed, second.replayed, second.recorded], [false, true, true])
        assert.strictEqual(second.sagaId, first.sagaId)
        assert.deepStrictEqual(yield* everywhere(document.uuid), ["v1", "v1", "v1"])
        assert.strictEqual(yield* cached(document.uuid), "v1")
      })
    )

    test.effect("ends at v1 after v1, v2, v1", () =>
      Effect.gen(function* () {
        const v1 = documentOf("v1")
        for (const document of [v1, documentOf("v2", v1.uuid), v1]) yield* ingestDocument.execute(document)
        assert.deepStrictEqual(yield* everywhere(v1.uuid), ["v1", "v1", "v1"])
        assert.strictEqual(yield* cached(v1.uuid), "v1")
      })
    )

    test.effect("writes again after ingest and remove", () =>
      Effect.gen(function* () {
        const document = documentOf("v1")
        yield* ingestDocument.execute(document)
        yield* removeDocument.execute({ uuid: document.uuid })
        assert.deepStrictEqual(yield* everywhere(document.uuid), [undefined, undefined, undefined])
        assert.isUndefined(yield* cached(document.uuid))
        yield* ingestDocument.execute(document)
        assert.deepStrictEqual(yield* everywhere(document.uuid), ["v1", "v1", "v1"])
      })
    )

    const leavesNothing = <Self extends Stores>(
      name: StoreError["store"],
      tag: Context.Service<Self, Store>,
      applied: "no" | "unknown"
    ) =>
      test.effect(`leaves nothing, or the earlier version, when ${name} fails (applied: ${applied})`, () =>
        Effect.gen(function* () {
          const fresh = documentOf("fresh")
          const v1 = documentOf("v1")
          yield* ingestDocument.execute(v1)
          const failing = replacing(tag, (store) => ({
            upsert: (document) =>
              applied === "no"
                ? unwilling(name, applied)
                : Effect.andThen(store.upsert(document), unwilling(name, applied))
          }))
          for (const saga of [ingestDocument, Ingest.make({ parallel: true })]) {
            for (const document of [fresh, documentOf("v2", v1.uuid)]) {
              assert.strictEqual((yield* Effect.flip(saga.execute(document).pipe(failing)))._tag, "StoreError")
            }
          }
          assert.deepStrictEqual(yield* everywhere(fresh.uuid), [undefined, undefined, undefined])
          assert.deepStrictEqual(yield* everywhere(v1.uuid), ["v1", "v1", "v1"])
          assert.isUndefined(yield* cached(v1.uuid), "parked means empty, never stale")
        })
      )
    for (const applied of ["no", "unknown"] as const) {
      leavesNothing("postgres", DocumentStore, applied)
      leavesNothing("neo4j", GraphStore, applied)
      leavesNothing("qdrant", VectorStore, applied)
    }

    test.effect("leaves 12 documents and no duplicates after 20 operations at once", () =>
      Effect.gen(function* () {
        const [same, busy] = [documentOf("same"), documentOf("busy")]
        const unique = Array.from({ length: 10 }, (_, i) => documentOf(`unique ${i}`))
        const operations = [
          ...unique.map((document) => ingestDocument.executeReceipt(document)),
          ...Array.from({ length: 5 }, () => ingestDocument.executeReceipt(same)),
          ...Array.from({ length: 5 }, () => ingestDocument.executeReceipt(busy))
        ]
        const receipts = yield* Effect.all(operations, { concurrency: "unbounded" })
        assert.strictEqual(receipts.filter((receipt) => !receipt.replayed).length, 12)
        for (const document of [...unique, same, busy]) {
          assert.deepStrictEqual(yield* everywhere(document.uuid), [document.title, document.title, document.title])
        }
      })
    )

    test.effect("refuses a write that lands after its undo", () =>
      Effect.gen(function* () {
        const document = documentOf("late")
        let late: Effect.Effect<void, StoreError> = Effect.void
        const failing = replacing(GraphStore, (store) => ({
          // The request is on its way when the saga gives up on it.
          upsert: (one) =>
            Effect.flatMap(Step.SagaRun, (run) => {
              late = Effect.provideService(store.upsert(one), Step.SagaRun, run)
              return unwilling("neo4j", "unknown")
            })
        }))
        yield* Effect.flip(ingestDocument.execute(document).pipe(failing))
        const error = yield* Effect.flip(late)
        assert.strictEqual(error.reason._tag, "FloorRefused")
        assert.deepStrictEqual(yield* everywhere(document.uuid), [undefined, undefined, undefined])
      })
    )

    test.effect("explains each store that could not be undone by a dead letter, high, rollback_delete", () =>
      Effect.gen(function* () {
        const document = documentOf("stuck")
        const stuck = (name: StoreError["store"]) => ({ restore: () => unwilling(name, "no") })
        const error = yield* Effect.flip(
          ingestDocument.execute(document).pipe(
            replacing(DocumentStore, () => stuck("postgres")),
            replacing(GraphStore, () => stuck("neo4j")),
            replacing(VectorStore, () => ({ upsert: () => unwilling("qdrant", "no") }))
          )
        )
        assert.strictEqual(error._tag, "CompensationError")
        if (error._tag !== "CompensationError") return
        const queue = yield* DeadLetterQueue
        const letters = yield* Effect.forEach(error.failures, (failure) => queue.get(failure.deadLetterId))
        assert.deepStrictEqual(
          letters.map(({ database, operation, priority, status }) => [database, operation, priority, status]),
          [
            ["neo4j", "rollback_delete", "high", "pending"],
            ["postgres", "rollback_delete", "high", "pending"]
          ]
        )
        assert.deepStrictEqual(yield* everywhere(document.uuid), ["stuck", "stuck", undefined])
      })
    )
  })

describe("the document saga in memory", () => {
  behaves(memory)

  it.effect("restores the before-image of a timed-out upsert that was applied", () =>
    Effect.gen(function* () {
      const v1 = documentOf("v1")
      yield* ingestDocument.execute(v1)
      const hanging = replacing(VectorStore, (store) => ({
        upsert: (document) => Effect.andThen(store.upsert(document), Effect.never)
      }))
      const fiber = yield* Effect.forkChild(
        Effect.flip(ingestDocument.execute(documentOf("v2", v1.uuid)).pipe(hanging))
      )
      yield* TestClock.adjust("60 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "StepTimeout")
      assert.deepStrictEqual(yield* everywhere(v1.uuid), ["v1", "v1", "v1"])
    }).pipe(Effect.provide(memory))
  )

  it.effect("refuses a payload that is no document before anything is touched", () =>
    Effect.gen(function* () {
      const log = (yield* MemoryStores.MemoryState).redis.log
      const error = yield* Effect.flip(removeDocument.execute({ uuid: "no uuid" }))
      assert.strictEqual(error._tag, "InvalidPayload")
      assert.strictEqual(log.length, 0)
    }).pipe(Effect.provide(memory))
  )
})

const { neo4j, postgres, qdrant, redis } = servers()
describe.skipIf(postgres === null || redis === null || neo4j === null || qdrant === null)(
  "the document saga on the real PostgreSQL, Neo4j, Qdrant and Redis",
  () => {
    const clients = Layer.mergeAll(
      IoRedis.layerUrl(redis ?? ""),
      Neo4jDriver.layer({ url: neo4j ?? "" }),
      QdrantRest.layer({ url: qdrant ?? "" }),
      PgClient.layer({ url: Redacted.make(postgres ?? "") })
    )
    const live = (toggles: Toggles) =>
      Layer.mergeAll(
        SagaLive.layerWith(toggles),
        Layer.mergeAll(
          PostgresDocumentStore.layer,
          RedisDocumentCache.layer,
          Neo4jGraphStore.layer,
          QdrantVectorStore.layerWith({ size: 3 })
        )
      ).pipe(Layer.provideMerge(clients))

    behaves(live({}))
  }
)
