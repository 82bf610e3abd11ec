/** The document stores as the explorer sees them. */
import { Effect } from "effect"
import { Document, MemoryStores } from "../../src/ingest/index.ts"

const uuid = "6f2c1c8e-3f0a-4c55-9c1b-0d8f6a1b2c3d"

export const document = (title: string) =>
  new Document({ uuid, title, body: "body", embedding: [1, 0], links: [], metadata: {} })

export const snapshot = Effect.map(MemoryStores.MemoryState, ({ neo4j, postgres, qdrant, redis }) => ({
  postgres: postgres.get(uuid)?.title ?? null,
  neo4j: neo4j.get(uuid)?.title ?? null,
  qdrant: qdrant.get(uuid)?.title ?? null,
  // Empty is never wrong.
  redis: redis.get(uuid) === undefined || redis.get(uuid)?.title === postgres.get(uuid)?.title ? "right" : "stale"
}))
