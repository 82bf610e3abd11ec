import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Redacted } from "effect"
import { Neo4j, Neo4jDriver, QdrantRest } from "effect-saga"
import {
  Document,
  DocumentStore,
  GraphStore,
  MemoryStores,
  Neo4jGraphStore,
  PostgresDocumentStore,
  QdrantVectorStore,
  VectorStore
} from "effect-saga/ingest"
import * as PgliteClient from "effect-saga/pglite"
import { as, documentOf, storeContract } from "../contract/StoreContract.ts"
import { servers } from "../servers/inject.ts"

storeContract("memory", DocumentStore, MemoryStores.layer)
storeContract("memory", GraphStore, MemoryStores.layer)
storeContract("memory", VectorStore, MemoryStores.layer)
storeContract("PGlite", DocumentStore, PostgresDocumentStore.layer.pipe(Layer.provide(PgliteClient.layer)))

const { neo4j, postgres, qdrant } = servers()
describe.skipIf(postgres === null)("real PostgreSQL", () => {
  storeContract(
    "PostgreSQL",
    DocumentStore,
    PostgresDocumentStore.layer.pipe(Layer.provide(PgClient.layer({ url: Redacted.make(postgres ?? "") })))
  )
})

describe.skipIf(qdrant === null)("real Qdrant", () => {
  storeContract(
    "Qdrant",
    VectorStore,
    QdrantVectorStore.layerWith({ size: 3 }).pipe(Layer.provide(QdrantRest.layer({ url: qdrant ?? "" })))
  )
})

describe.skipIf(neo4j === null)("real Neo4j", () => {
  const graph = Neo4jGraphStore.layer.pipe(Layer.provideMerge(Neo4jDriver.layer({ url: neo4j ?? "" })))
  storeContract("Neo4j", GraphStore, graph)

  it.layer(graph, { excludeTestServices: true })((test) => {
    const edges = (uuid: string) =>
      Effect.flatMap(Neo4j, (db) =>
        Effect.map(
          db.run("MATCH (:Document {uuid: $uuid})-[:LINKS]->(t) RETURN t.uuid AS uuid ORDER BY uuid", { uuid }),
          (rows) => rows.map((row) => row.uuid)
        )
      )

    test.effect("links stubs, invisible until they are written, and takes them away with their last link", () =>
      Effect.gen(function* () {
        const store = yield* GraphStore
        const [target, document] = [documentOf("target"), documentOf("source")]
        const linking = new Document({ ...document, links: [target.uuid] })
        yield* store.upsert(linking).pipe(as("s1", 1000))
        assert.deepStrictEqual(yield* edges(document.uuid), [target.uuid])
        assert.isTrue(Option.isNone(yield* store.find(target.uuid)))
        const image = yield* store.image(document.uuid)
        yield* store.upsert(document).pipe(as("s2", 2000))
        assert.deepStrictEqual(yield* edges(document.uuid), [])
        const left = yield* Effect.flatMap(Neo4j, (db) =>
          db.run("MATCH (n:Document {uuid: $uuid}) RETURN n", { uuid: target.uuid })
        )
        assert.strictEqual(left.length, 0)
        yield* store.restore(document.uuid, image).pipe(as("s2", 3000))
        assert.deepStrictEqual(yield* edges(document.uuid), [target.uuid])
        yield* store.upsert(target).pipe(as("s3", 1000))
        assert.deepStrictEqual(yield* store.find(target.uuid), Option.some(target))
      })
    )

    test.effect("tells a statement that is wrong from a database that is gone", () =>
      Effect.gen(function* () {
        const wrong = yield* Effect.flip(Effect.flatMap(Neo4j, (db) => db.run("RETURN nothing at all")))
        assert.deepStrictEqual([wrong.transient, wrong.maybeApplied], [false, false])
        const gone = yield* Effect.flip(
          Effect.flatMap(Neo4j, (db) => db.run("RETURN 1")).pipe(
            Effect.provide(Neo4jDriver.layer({ url: "bolt://127.0.0.1:1" }))
          )
        )
        assert.deepStrictEqual([gone.transient, gone.maybeApplied], [true, true])
      })
    )
  })
})
