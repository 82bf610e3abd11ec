/** The servers of the benchmark, ended with the scope. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { IoRedis } from "../src/index.ts"
import * as Neo4j from "../test/servers/Neo4j.ts"
import * as Postgres from "../test/servers/Postgres.ts"
import * as Qdrant from "../test/servers/Qdrant.ts"
import * as Redis from "../test/servers/Redis.ts"
import type { RunningServer } from "../test/servers/Server.ts"

const started = (start: () => Promise<RunningServer>) =>
  Effect.map(
    Effect.acquireRelease(Effect.tryPromise(start), (one) => Effect.promise(one.stop)),
    ({ url }) => url
  )

/** Undefined where it is not installed or does not start. */
const optional = (server: { readonly available: () => boolean; readonly start: () => Promise<RunningServer> }) =>
  server.available() ? Effect.catch(started(server.start), () => Effect.undefined) : Effect.undefined

export const neo4j = optional(Neo4j)
export const qdrant = optional(Qdrant)

/** PostgreSQL with fsync on, and Redis. */
export const clients = Effect.gen(function* () {
  const [postgres, redis] = [yield* started(Postgres.start), yield* started(Redis.start)]
  return yield* Layer.build(
    Layer.merge(
      IoRedis.layerUrl(redis),
      PgClient.layer({ url: Redacted.make(postgres), minConnections: 20, maxConnections: 20 })
    )
  )
})
