/** The document saga with a knowledge graph, in memory and over Graphiti's REST contract. */
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect, Layer } from "effect"
import { DeadLetterQueue, Saga, SagaMemory } from "effect-saga"
import {
  type Document,
  DocumentStore,
  GraphitiKnowledgeGraph,
  GraphStore,
  Ingest,
  KnowledgeGraph,
  MemoryKnowledgeGraph,
  MemoryStores,
  Rejected,
  type Store,
  StoreError,
  VectorStore
} from "effect-saga/ingest"
import { as, documentOf } from "../contract/StoreContract.ts"
import { type Behaviour, Graphiti, layer as graphitiServer } from "./graphiti/GraphitiServer.ts"

const graphiti = GraphitiKnowledgeGraph.layer({ url: "", patience: "1 second" }).pipe(
  Layer.provideMerge(graphitiServer)
)
const saga = Layer.merge(SagaMemory.layerWith({ retries: false }), MemoryStores.layer)
const ingest = Ingest.makeWithKnowledge()
const contents = (document: Document) =>
  Effect.map(
    Effect.flatMap(KnowledgeGraph, (graph) => graph.episodes(document.uuid)),
    (episodes) => episodes.map(({ content }) => content.includes(document.body))
  )
const anywhere = (document: Document) =>
  Effect.gen(function* () {
    const found = [
      yield* (yield* DocumentStore).find(document.uuid),
      yield* (yield* GraphStore).find(document.uuid),
      yield* (yield* VectorStore).find(document.uuid)
    ]
    return found.some((one) => one._tag === "Some")
  })
const replacing =
  <Self>(tag: Context.Service<Self, Store>, change: Partial<Store>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(tag, (store) => Effect.provideService(effect, tag, { ...store, ...change }))
const unwilling = (store: StoreError["store"]) =>
  Effect.fail(
    new StoreError({
      store,
      operation: "test",
      transient: false,
      applied: "no",
      reason: new Rejected({ problem: "no" })
    })
  )

const contract = (name: string, layer: Layer.Layer<KnowledgeGraph, unknown>) =>
  describe(`a knowledge graph: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true })((test) => {
      test.effect("adds an episode once for a call, and takes away only that call's", () =>
        Effect.gen(function* () {
          const graph = yield* KnowledgeGraph
          const document = documentOf("text")
          yield* graph.add(document).pipe(as("s1", 1, 4))
          yield* graph.add(document).pipe(as("s1", 1, 4))
          yield* graph.add(document).pipe(as("s2", 2, 4))
          assert.strictEqual((yield* graph.episodes(document.uuid)).length, 2)
          yield* graph.withdraw(document.uuid).pipe(as("s2", 3, 4))
          yield* graph.withdraw(document.uuid).pipe(as("s2", 3, 4))
          const left = yield* graph.episodes(document.uuid)
          assert.deepStrictEqual(
            left.map(({ name }) => name),
            [`${document.uuid}@s1/4`]
          )
        })
      )

      test.effect("removes all of a document, and puts them back under their names", () =>
        Effect.gen(function* () {
          const graph = yield* KnowledgeGraph
          const [document, other] = [documentOf("mine"), documentOf("another's")]
          for (const one of [document, other]) yield* graph.add(one).pipe(as("s1", 1))
          const before = yield* graph.episodes(document.uuid)
          yield* graph.remove(document.uuid).pipe(as("s2", 2))
          assert.deepStrictEqual(yield* graph.episodes(document.uuid), [])
          assert.strictEqual((yield* graph.episodes(other.uuid)).length, 1)
          yield* graph.restore(before).pipe(as("s2", 3))
          yield* graph.restore(before).pipe(as("s2", 3))
          assert.deepStrictEqual(yield* graph.episodes(document.uuid), before)
        })
      )

      test.effect("is written with the other stores, and undone with them", () =>
        Effect.gen(function* () {
          const document = documentOf("whole")
          yield* ingest.execute(document)
          assert.deepStrictEqual(yield* contents(document), [true])
          yield* Ingest.removeDocumentWithKnowledge.execute({ uuid: document.uuid })
          assert.deepStrictEqual(yield* contents(document), [])
          const stubborn = replacing(DocumentStore, { remove: () => unwilling("postgres") })
          const again = documentOf("again", document.uuid)
          yield* ingest.execute(again)
          yield* Effect.flip(Ingest.removeDocumentWithKnowledge.execute({ uuid: document.uuid }).pipe(stubborn))
          assert.deepStrictEqual(yield* contents(again), [true])
        }).pipe(Effect.provide(saga))
      )
    })
  })

contract("memory", MemoryKnowledgeGraph.layer)
contract("Graphiti", graphiti)

describe("Graphiti", () => {
  const behave = (...behaviours: Array<Behaviour>) =>
    Effect.map(Graphiti, (server) => {
      server.behaviours = behaviours
    })
  const everything = Layer.merge(saga, graphiti)
  const failing = (document: Document) => Effect.flip(ingest.execute(document))

  for (const [behaviour, transient, applied] of [
    ["refuses", false, "no"],
    ["busy", true, "no"],
    ["breaks", true, "unknown"],
    ["never stores", true, "unknown"]
  ] as const) {
    it.live(`that ${behaviour}: the error knows whether to try again and what may have happened`, () =>
      Effect.gen(function* () {
        yield* behave(behaviour)
        const document = documentOf("text")
        const error = yield* failing(document)
        assert.strictEqual(error._tag, "StoreError")
        if (error._tag === "StoreError") {
          assert.deepStrictEqual([error.store, error.transient, error.applied], ["graphiti", transient, applied])
        }
        assert.isFalse(yield* anywhere(document), "the other stores are undone")
        const letters = yield* (yield* DeadLetterQueue).list()
        assert.deepStrictEqual(
          letters.map(({ kind, operation }) => [kind, operation]),
          applied === "no" ? [] : [["verify", "rollback_delete"]]
        )
      }).pipe(Effect.provide(everything))
    )
  }

  it.live("that stores after the saga was undone: the verify letter takes the episode away", () =>
    Effect.gen(function* () {
      const server = yield* Graphiti
      server.delay = 1500
      const document = documentOf("late")
      yield* failing(document)
      yield* Effect.sleep("1500 millis")
      assert.deepStrictEqual(yield* contents(document), [true], "it appeared after its undo")
      const [letter] = yield* (yield* DeadLetterQueue).list()
      yield* Saga.redrive([ingest]).one(letter?.id ?? "")
      assert.deepStrictEqual(yield* contents(document), [])
    }).pipe(Effect.provide(everything))
  )

  it.live("whose reply is lost: the repeated call finds its episode and adds none", () =>
    Effect.gen(function* () {
      yield* behave("loses the reply", "works")
      const graph = yield* KnowledgeGraph
      const document = documentOf("once")
      const add = graph.add(document).pipe(as("s1", 1))
      yield* Effect.timeoutOption(add, "300 millis")
      yield* add
      const { episodes, requests } = yield* Graphiti
      assert.deepStrictEqual([episodes.length, requests], [1, ["POST"]])
    }).pipe(Effect.provide(graphiti))
  )

  it.live("and Qdrant refuse, and neither PostgreSQL nor Neo4j can be undone: two dead letters, high", () =>
    Effect.gen(function* () {
      yield* behave("refuses")
      const document = documentOf("stuck")
      const error = yield* Effect.flip(
        Ingest.makeWithKnowledge({ parallel: true })
          .execute(document)
          .pipe(
            replacing(DocumentStore, { restore: () => unwilling("postgres") }),
            replacing(GraphStore, { restore: () => unwilling("neo4j") }),
            replacing(VectorStore, { upsert: () => Effect.delay(unwilling("qdrant"), "20 millis") })
          )
      )
      assert.strictEqual(error._tag, "CompensationError")
      const letters = yield* (yield* DeadLetterQueue).list()
      assert.deepStrictEqual(
        letters.map(({ database, operation, priority }) => [database, operation, priority]).sort(),
        [
          ["neo4j", "rollback_delete", "high"],
          ["postgres", "rollback_delete", "high"]
        ]
      )
    }).pipe(Effect.provide(everything))
  )
})
