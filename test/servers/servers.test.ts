import { QdrantClient } from "@qdrant/js-client-rest"
import { Redis } from "ioredis"
import pg from "pg"
import { assert, describe, it } from "vitest"
import { servers } from "./inject.ts"
import * as Postgres from "./Postgres.ts"
import * as Qdrant from "./Qdrant.ts"

describe.skipIf(servers().redis === null)("Redis", () => {
  it("is real and of version 7 or later", async () => {
    const client = new Redis(servers().redis ?? "")
    const info = await client.info("server")
    client.disconnect()
    assert.match(info, /redis_version:([7-9]|\d\d)/)
  })
})

describe.skipIf(servers().postgres === null)("PostgreSQL", () => {
  it("is real", async () => {
    const client = new pg.Client(servers().postgres ?? "")
    await client.connect()
    const { rows } = await client.query<{ version: string }>("select version()")
    await client.end()
    assert.match(rows[0]?.version ?? "", /^PostgreSQL 1[5-9]/)
  })

  it("keeps what was committed when it is killed and started again", async () => {
    const server = await Postgres.start()
    const query = async (text: string) => {
      const client = new pg.Client(server.url)
      await client.connect()
      const result = await client.query(text)
      await client.end()
      return result.rowCount
    }
    await query("create table kept as select 1 as x")
    await server.kill()
    await server.restart()
    assert.strictEqual(await query("select * from kept"), 1)
    await server.stop()
  })
})

describe.skipIf(servers().qdrant === null)("Qdrant", () => {
  const id = "6f2c1c8e-3f0a-4c55-9c1b-0d8f6a1b2c3d"
  const floor = 1_795_000_000_000_000

  it.skipIf(!Qdrant.available())("keeps what it acknowledged when it is killed and started again", async () => {
    const server = await Qdrant.start()
    const client = new QdrantClient({ url: server.url })
    await client.createCollection("kept", { vectors: { size: 2, distance: "Dot" } })
    for (let x = 1; x <= 20; x++) await client.upsert("kept", { points: [{ id, vector: [x, x], payload: { x } }] })
    await server.kill()
    await server.restart()
    const found = await client.retrieve("kept", { ids: [id], with_vector: true })
    assert.deepStrictEqual(found, [{ id, vector: [20, 20], payload: { x: 20 } }])
    await server.stop()
  })

  it("replaces by a condition, which tells floors apart that differ by a microsecond", async () => {
    const client = new QdrantClient({ url: servers().qdrant ?? "" })
    const write = async (payload: { floor: number; by: string }, below: number) => {
      await client.upsert("servers_test", {
        points: [{ id, vector: [1, 1], payload }],
        update_filter: { must: [{ key: "floor", range: { lt: below } }] }
      })
      const [point] = await client.retrieve("servers_test", { ids: [id] })
      return point?.payload
    }
    await client.createCollection("servers_test", { vectors: { size: 2, distance: "Dot" } })
    assert.deepStrictEqual(await write({ floor, by: "first" }, 0), { floor, by: "first" })
    assert.deepStrictEqual(await write({ floor, by: "equal" }, floor), { floor, by: "first" })
    assert.deepStrictEqual(await write({ floor, by: "higher" }, floor + 1), { floor, by: "higher" })
    await client.createPayloadIndex("servers_test", { field_name: "floor", field_schema: "integer", wait: true })
    assert.deepStrictEqual(await write({ floor, by: "indexed" }, floor), { floor, by: "higher" })
    assert.deepStrictEqual(await write({ floor, by: "last" }, floor + 1), { floor, by: "last" })
    await client.deleteCollection("servers_test")
  })

  it("answers a wrong dimension with 400 and an unknown collection with 404", async () => {
    const client = new QdrantClient({ url: servers().qdrant ?? "" })
    const status = async (collection: string) => {
      const answer = await fetch(`${servers().qdrant}/collections/${collection}/points`, {
        method: "PUT",
        body: JSON.stringify({ points: [{ id, vector: [1] }] }),
        headers: { "content-type": "application/json" }
      })
      return answer.status
    }
    await client.createCollection("narrow", { vectors: { size: 2, distance: "Dot" } })
    assert.deepStrictEqual([await status("narrow"), await status("unknown")], [400, 404])
    await client.deleteCollection("narrow")
  })
})
