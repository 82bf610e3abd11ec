/** The document saga with its independent stores one after another, and at once. */
import { Effect, Layer } from "effect"
import { Neo4jDriver, QdrantRest, SagaLive } from "../src/index.ts"
import {
  Document,
  Ingest,
  MemoryStores,
  Neo4jGraphStore,
  PostgresDocumentStore,
  QdrantVectorStore,
  RedisDocumentCache
} from "../src/ingest/index.ts"
import { Ids } from "../src/services/Ids.ts"
import { type Contender, measure, progress } from "./Sample.ts"
import { clients, neo4j, qdrant } from "./Servers.ts"

const EMBEDDING = [1, ...Array.from({ length: 127 }, (_, i) => Math.sin(i))] as const

const fresh = Effect.map(
  Effect.flatMap(Ids, ({ next }) => next),
  (uuid) =>
    new Document({ uuid, title: uuid, body: "All or none. ".repeat(80), embedding: EMBEDDING, links: [], metadata: {} })
)

/** Where a server cannot be had its store is in memory, and `where` says so. */
const world = Effect.gen(function* () {
  const [graph, vectors] = yield* Effect.all([neo4j, qdrant], { concurrency: 2 })
  const stores = Layer.mergeAll(
    PostgresDocumentStore.layer,
    RedisDocumentCache.layer,
    graph === undefined ? Layer.empty : Neo4jGraphStore.layer.pipe(Layer.provide(Neo4jDriver.layer({ url: graph }))),
    vectors === undefined
      ? Layer.empty
      : QdrantVectorStore.layerWith({ size: EMBEDDING.length }).pipe(Layer.provide(QdrantRest.layer({ url: vectors })))
  ).pipe(Layer.provideMerge(MemoryStores.layer))
  const services = yield* clients
  const context = yield* Layer.build(
    Layer.mergeAll(SagaLive.layer, stores).pipe(Layer.provide(Layer.succeedContext(services)))
  )
  const place = (name: string, url: string | undefined) => (url === undefined ? `memory for ${name}` : name)
  return { context, where: `PostgreSQL, Redis, ${place("Neo4j", graph)}, ${place("Qdrant", vectors)}` }
})

export const ingestWays = Effect.fnUntraced(function* (rounds: number) {
  const { context, where } = yield* world
  const way = (name: string, saga: typeof Ingest.ingestDocument): Contender<never> => ({
    name,
    once: () =>
      Effect.provideContext(
        Effect.flatMap(fresh, (document) => saga.execute(document)),
        context
      )
  })
  const measured = yield* measure(
    [way("one store after another", Ingest.make()), way("stores at once", Ingest.make({ parallel: true }))],
    { rounds, perRound: 15, batch: 64, onRound: progress("ingest") }
  )
  return { where, measured }
}, Effect.scoped)
