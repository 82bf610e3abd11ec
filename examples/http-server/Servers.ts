/** Which databases the server uses: embedded and in memory, or the real ones that the environment names. */
import { Config, Effect, Layer } from "effect"
import { IoRedis, Neo4jDriver, PostgresClient, QdrantRest, SagaLive, SagaMemory } from "../../src/index.ts"
import {
  MemoryStores,
  Neo4jGraphStore,
  PostgresDocumentStore,
  QdrantVectorStore,
  RedisDocumentCache
} from "../../src/ingest/index.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import * as SqlDeadLetterQueue from "../../src/layers/sql/SqlDeadLetterQueue.ts"

const { DATABASE_URL = "", NEO4J_URL = "", QDRANT_URL = "", REDIS_URL = "" } = process.env

const sql = DATABASE_URL === "" ? PgliteClient.layer : PostgresClient.layerConfig

// Dead letters are in SQL either way: they must outlive the process.
const sagas =
  REDIS_URL === ""
    ? Layer.provideMerge(SqlDeadLetterQueue.layer, SagaMemory.layer)
    : Layer.merge(SagaLive.layerConfig, RedisDocumentCache.layer).pipe(Layer.provide(IoRedis.layerUrl(REDIS_URL)))

const graph = NEO4J_URL === "" ? Layer.empty : Neo4jGraphStore.layer.pipe(Layer.provide(Neo4jDriver.layerConfig))

const collection = Config.all({
  collection: Config.String("QDRANT_COLLECTION").pipe(Config.withDefault("documents")),
  size: Config.Int("QDRANT_SIZE").pipe(Config.withDefault(1536))
})

/** `QDRANT_SIZE` is the dimension of the vectors, 1536 unless said; `QDRANT_COLLECTION` is "documents" unless said. */
const vectors =
  QDRANT_URL === ""
    ? Layer.empty
    : Layer.unwrap(
        Effect.map(collection, (options) =>
          QdrantVectorStore.layerWith(options).pipe(Layer.provide(QdrantRest.layerConfig))
        )
      )

/** The services of the sagas and their stores; those in memory are there for what is not named. */
export const servers = Layer.mergeAll(PostgresDocumentStore.layer, sagas, graph, vectors).pipe(
  Layer.provideMerge(MemoryStores.layer),
  Layer.provide(sql)
)
