/** The document saga with a knowledge graph, in memory and over Graphiti's REST contract. */
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect, Exit, Latch, Layer } from "effect"
import { DeadLetterQueue, Saga, SagaMemory } from "effect-saga"
import {
  Document,
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
  Unavailable,
  VectorStore
} from "effect-saga/ingest"
import { addEpisode } from "../../src/ingest/KnowledgeSteps.ts"
import { as, documentOf } from "../contract/StoreContract.ts"
import { Graphiti, layer as graphitiServer, layerInFiber } from "./graphiti/GraphitiServer.ts"

const saga = Layer.merge(SagaMemory.layerWith({ retries: false }), MemoryStores.layer)
const ingest = Ingest.make({ knowledgeGraph: true })
const remove = Ingest.makeRemove({ knowledgeGraph: true })

const episodes = (document: Document) => Effect.flatMap(KnowledgeGraph, (graph) => graph.episodes(document.uuid))
const contents = (document: Document) => Effect.map(episodes(document), (all) => all.map(({ content }) => content))
const textOf = ({ body, title }: Document) => `${title}\n\n${body}`

const replacing =
  <Self>(tag: Context.Service<Self, Store>, change: (store: Store) => Partial<Store>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(tag, (store) => Effect.provideService(effect, tag, { ...store, ...change(store) }))
const unwilling = (store: StoreError["store"]) =>
  new StoreError({
    store,
    operation: "test",
    transient: false,
    applied: "no",
    reason: new Rejected({ problem: "no" })
  })

const lost = new StoreError({
  store: "graphiti",
  operation: "remove",
  transient: false,
  applied: "unknown",
  reason: new Unavailable({ cause: "the reply was lost" })
})

/** A saga that fails once its episode is there. */
const regretful = Saga.make("Regretful", {
  payload: Document,
  error: StoreError,
  resource: (document) => document.uuid,
  steps: [addEpisode],
  run: Effect.fnUntraced(function* (document) {
    yield* addEpisode(document)
    return yield* unwilling("postgres")
  })
})

const contract = (name: string, layer: Layer.Layer<KnowledgeGraph, unknown>) =>
  describe(`a knowledge graph: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true })((test) => {
      test.effect("adds an episode once for a call, and takes away only that call's", () =>
        Effect.gen(function* () {
          const graph = yield* KnowledgeGraph
          const document = documentOf("text")
          yield* graph.add(document).pipe(as("s1", 1, 4))
          yield* graph.add(document).pipe(as("s1", 1, 4))
          yield* graph.add(document).pipe(as("s1", 1, 5))
          yield* graph.add(document).pipe(as("s2", 2, 4))
          assert.strictEqual((yield* episodes(document)).length, 3)
          yield* graph.withdraw(document.uuid).pipe(as("s1", 3, 4))
          yield* graph.withdraw(document.uuid).pipe(as("s1", 3, 4))
          assert.deepStrictEqual((yield* episodes(document)).map((left) => left.name).sort(), [
            `${document.uuid}@s1/5`,
            `${document.uuid}@s2/4`
          ])
        })
      )

      test.effect("removes all of a document, and puts them back as they were", () =>
        Effect.gen(function* () {
          const graph = yield* KnowledgeGraph
          const [document, other] = [documentOf("mine"), documentOf("another's")]
          for (const call of [0, 1]) yield* graph.add(document).pipe(as("s1", 1, call))
          yield* graph.add(other).pipe(as("s1", 1))
          const before = yield* episodes(document)
          yield* graph.remove(document.uuid).pipe(as("s2", 2))
          assert.deepStrictEqual(yield* episodes(document), [])
          assert.strictEqual((yield* episodes(other)).length, 1)
          yield* graph.restore(before).pipe(as("s2", 3))
          yield* graph.restore(before).pipe(as("s2", 3))
          assert.deepStrictEqual(yield* episodes(document), before)
        })
      )

      test.effect("is written with the other stores, and a later version is added to what was known", () =>
        Effect.gen(function* () {
          const first = documentOf("first")
          const second = documentOf("second", first.uuid)
          yield* ingest.execute(first)
          yield* ingest.execute(first)
          assert.deepStrictEqual(yield* contents(first), [textOf(first)])
          yield* ingest.execute(second)
          assert.deepStrictEqual(yield* contents(first), [textOf(first), textOf(second)])
          yield* remove.execute({ uuid: first.uuid })
          assert.deepStrictEqual(yield* contents(first), [])
        }).pipe(Effect.provide(saga))
      )

      test.effect("asks nothing of whoever ingests without it", () =>
        Effect.gen(function* () {
          const document = documentOf("plain")
          yield* Ingest.make().execute(document)
          assert.deepStrictEqual(yield* episodes(document), [])
          yield* ingest.execute(document)
          assert.strictEqual((yield* episodes(document)).length, 1, "a recorded result does not keep it away")
        }).pipe(Effect.provide(saga))
      )

      test.effect("is undone after it succeeded: this saga's episode goes, earlier ones stay", () =>
        Effect.gen(function* () {
          const first = documentOf("first")
          yield* ingest.execute(first)
          const before = yield* episodes(first)
          const error = yield* Effect.flip(regretful.execute(documentOf("second", first.uuid)))
          assert.strictEqual(error._tag, "StoreError")
          assert.deepStrictEqual(yield* episodes(first), before)
          assert.strictEqual(yield* (yield* DeadLetterQueue).size, 0, "its outcome was known: nothing to look at again")
        }).pipe(Effect.provide(saga))
      )

      test.effect("keeps its episodes when the document cannot be removed elsewhere", () =>
        Effect.gen(function* () {
          const document = documentOf("stays")
          yield* ingest.execute(document)
          const before = yield* episodes(document)
          const graph = yield* KnowledgeGraph
          const halfway = {
            ...graph,
            remove: (uuid: string) => Effect.andThen(graph.remove(uuid), Effect.fail(lost))
          }
          const removal = Effect.provideService(remove.execute({ uuid: document.uuid }), KnowledgeGraph, halfway)
          assert.isTrue(Exit.isFailure(yield* Effect.exit(removal)))
          assert.deepStrictEqual(yield* episodes(document), before)
        }).pipe(Effect.provide(saga))
      )
    })
  })

contract("memory", MemoryKnowledgeGraph.layer)
contract("Graphiti", GraphitiKnowledgeGraph.layer({ url: "" }).pipe(Layer.provide(graphitiServer)))

const GraphitiRefusing = GraphitiKnowledgeGraph.layer({ url: "http://graphiti" }).pipe(Layer.provideMerge(layerInFiber))

it.effect("PostgreSQL and Neo4j apply, Qdrant and Graphiti refuse, neither can be undone: two dead letters", () =>
  Effect.gen(function* () {
    const document = documentOf("stuck")
    const applied: Array<string> = []
    const bothApplied = yield* Latch.make()
    const graphitiRefused = yield* Latch.make()
    const stuck = (name: "postgres" | "neo4j") => (store: Store) => ({
      upsert: (one: Document) =>
        store.upsert(one).pipe(Effect.tap(() => (applied.push(name) === 2 ? bothApplied.open : Effect.void))),
      restore: () => Effect.fail(unwilling(name))
    })
    const server = yield* Graphiti
    server.behaviours.POST.push("refuses")
    const graph = yield* KnowledgeGraph
    const refusals: Array<string> = []
    const noting =
      (name: string) =>
      <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.tapError(effect, () => Effect.sync(() => refusals.push(name)))
    const error = yield* Effect.flip(
      Ingest.make({ parallel: true, knowledgeGraph: true })
        .execute(document)
        .pipe(
          replacing(DocumentStore, stuck("postgres")),
          replacing(GraphStore, stuck("neo4j")),
          replacing(VectorStore, () => ({
            // Not to be interrupted, so that both have refused when undoing begins.
            upsert: () =>
              graphitiRefused.await.pipe(
                Effect.andThen(Effect.fail(unwilling("qdrant"))),
                noting("qdrant"),
                Effect.uninterruptible
              )
          })),
          Effect.provideService(KnowledgeGraph, {
            ...graph,
            add: (one) =>
              bothApplied.await.pipe(
                Effect.andThen(graph.add(one)),
                noting("graphiti"),
                Effect.ensuring(graphitiRefused.open)
              )
          })
        )
    )
    assert.strictEqual(error._tag, "CompensationError")
    assert.deepStrictEqual(refusals, ["graphiti", "qdrant"])
    const there = (store: Store) => Effect.map(store.find(document.uuid), ({ _tag }) => _tag)
    assert.deepStrictEqual(
      [yield* there(yield* DocumentStore), yield* there(yield* GraphStore), yield* there(yield* VectorStore)],
      ["Some", "Some", "None"]
    )
    assert.deepStrictEqual(server.served, ["GET"], "nothing was stored, and nothing had to be taken away")
    const letters = yield* (yield* DeadLetterQueue).list()
    assert.deepStrictEqual(
      letters.map(({ database, kind, operation, priority }) => [database, kind, operation, priority]).sort(),
      [
        ["neo4j", "compensation", "rollback_delete", "high"],
        ["postgres", "compensation", "rollback_delete", "high"]
      ]
    )
  }).pipe(Effect.provide([saga, GraphitiRefusing]))
)
