import { Redis } from "ioredis"
import pg from "pg"
import { assert, describe, it } from "vitest"
import { servers } from "./inject.ts"
import * as Postgres from "./Postgres.ts"

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
