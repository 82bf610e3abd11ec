/**
 * The document saga in an HTTP server: `node examples/http-server/main.ts`, on the embedded default, or on the real
 * servers that DATABASE_URL, REDIS_URL and QDRANT_URL name. PORT is 3000 unless said, QDRANT_SIZE (the dimension) 1536.
 *
 *   POST /documents/:uuid   ingests (honours Idempotency-Key)      GET /metrics   for Prometheus
 *   GET /documents/:uuid    reads the row                          GET /health    the breakers
 *   DELETE /documents/:uuid removes
 */
import { createServer } from "node:http"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer, Redacted } from "effect"
import { HttpRouter } from "effect/http"
import { IoRedis, QdrantRest, SagaLive, SagaMemory } from "../../src/index.ts"
import { MemoryStores, PostgresDocumentStore, QdrantVectorStore, RedisDocumentCache } from "../../src/ingest/index.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import { routes } from "./Routes.ts"

const databaseUrl = process.env.DATABASE_URL ?? ""
const redisUrl = process.env.REDIS_URL ?? ""
const qdrantUrl = process.env.QDRANT_URL ?? ""

const sql = databaseUrl === "" ? PgliteClient.layer : PgClient.layer({ url: Redacted.make(databaseUrl) })
const services =
  redisUrl === ""
    ? Layer.merge(SagaMemory.layer, MemoryStores.layer)
    : Layer.merge(SagaLive.layerConfig, Layer.provideMerge(RedisDocumentCache.layer, MemoryStores.layer)).pipe(
        Layer.provide(IoRedis.layerUrl(redisUrl))
      )

const vectors = Layer.unwrap(
  Effect.map(Config.Int("QDRANT_SIZE").pipe(Config.withDefault(1536)), (size) =>
    QdrantVectorStore.layerWith({ size }).pipe(Layer.provide(QdrantRest.layerConfig))
  )
)
const stores = Layer.merge(PostgresDocumentStore.layer, qdrantUrl === "" ? Layer.empty : vectors)

// Closing the server's scope lets running requests end: a saga is never cut in two by a deployment.
const server = Layer.unwrap(
  Effect.map(Config.Port("PORT").pipe(Config.withDefault(3000)), (port) =>
    NodeHttpServer.layer(createServer, { port, host: "127.0.0.1", gracefulShutdownTimeout: "30 seconds" })
  )
)

HttpRouter.serve(routes).pipe(
  Layer.provide(Layer.provideMerge(stores, services)),
  Layer.provide(sql),
  Layer.provide(server),
  Layer.launch,
  NodeRuntime.runMain
)
