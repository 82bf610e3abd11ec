/** What is in the stores, read by plain drivers. */
import { Redis } from "ioredis"
import neo4j from "neo4j-driver"
import pg from "pg"
import type { Servers } from "./Messages.ts"

export interface Found {
  readonly postgres: string | null
  readonly neo4j: string | null
  readonly qdrant: string | null
  readonly redis: string | null
}

const titleOf = (text: string | null | undefined): string | null =>
  text === null || text === undefined ? null : (JSON.parse(text) as { title: string }).title

const rows = async (url: string) => {
  const client = new pg.Client(url)
  await client.connect()
  const { rows } = await client.query<{ uuid: string; title: string }>(
    "SELECT uuid::text, document->>'title' AS title FROM documents WHERE document IS NOT NULL"
  )
  await client.end()
  return new Map(rows.map(({ title, uuid }) => [uuid, title]))
}

const nodes = async (url: string) => {
  const driver = neo4j.driver(url)
  const { records } = await driver.executeQuery(
    "MATCH (n:Document) WHERE n.document IS NOT NULL RETURN n.uuid AS uuid, n.title AS title"
  )
  await driver.close()
  return new Map(records.map((record) => [String(record.get("uuid")), String(record.get("title"))]))
}

const points = async (url: string) => {
  const response = await fetch(`${url}/collections/documents/points/scroll`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ limit: 10_000, with_payload: true })
  })
  // The first write makes the collection.
  if (response.status === 404) return new Map<string, string>()
  const { result } = (await response.json()) as {
    result: { points: ReadonlyArray<{ id: string; payload: { tombstone?: boolean; title?: string } }> }
  }
  return new Map(
    result.points
      .filter(({ payload }) => payload.tombstone !== true)
      .map(({ id, payload }) => [id, payload.title ?? ""])
  )
}

const entries = async (url: string, uuids: ReadonlyArray<string>) => {
  const client = new Redis(url)
  const found = await Promise.all(uuids.map((uuid) => client.hget(`document:{${uuid}}`, "document")))
  client.disconnect()
  return new Map(uuids.map((uuid, i) => [uuid, titleOf(found[i])]))
}

export const readBack = async (servers: Servers, uuids: ReadonlyArray<string>): Promise<Map<string, Found>> => {
  const [inPostgres, inNeo4j, inQdrant, inRedis] = await Promise.all([
    rows(servers.postgres),
    nodes(servers.neo4j),
    points(servers.qdrant),
    entries(servers.redis, uuids)
  ])
  return new Map(
    uuids.map((uuid) => [
      uuid,
      {
        postgres: inPostgres.get(uuid) ?? null,
        neo4j: inNeo4j.get(uuid) ?? null,
        qdrant: inQdrant.get(uuid) ?? null,
        redis: inRedis.get(uuid) ?? null
      }
    ])
  )
}

/** Resources that open dead letters speak of, and unfinished sagas. */
export const explained = async (url: string) => {
  const client = new pg.Client(url)
  await client.connect()
  const letters = await client.query<{ resource: string }>(
    "SELECT unnest(resources) AS resource FROM dead_letter_queue WHERE status IN ('pending', 'retrying')"
  )
  const unfinished = await client.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM saga_journal WHERE status <> 'finished'"
  )
  await client.end()
  return { letters: letters.rows.map(({ resource }) => resource), unfinished: unfinished.rows[0]?.n ?? 0 }
}

/** When the saga of a request that lost its process ended, in milliseconds; undefined if none was begun. */
export const endedAt = async (
  client: pg.Client,
  uuid: string,
  from: number,
  to: number
): Promise<number | undefined> => {
  const { rows } = await client.query<{ ended: number }>(
    `SELECT extract(epoch FROM updated_at) * 1000 AS ended FROM saga_journal
     WHERE resources @> ARRAY[$1] AND opened_at BETWEEN to_timestamp($2 / 1000.0) AND to_timestamp($3 / 1000.0)
       AND status = 'finished'`,
    [uuid, from, to]
  )
  return rows[0] === undefined ? undefined : Number(rows[0].ended)
}
