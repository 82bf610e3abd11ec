/** What an operator does with psql: the views and functions, by a plain client that knows nothing of this library. */
import { readFileSync } from "node:fs"
import pg from "pg"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { servers } from "../servers/inject.ts"

const { postgres } = servers()
const schema = `psql_${process.pid}`

const file = (name: string) => readFileSync(new URL(`../../migrations/${name}.sql`, import.meta.url), "utf8")

const id = (n: number) => `00000000-0000-8000-8000-${String(n).padStart(12, "0")}`

const given = (n: number, changes: Readonly<Record<string, unknown>> = {}) => ({
  id: id(n),
  kind: "compensation",
  priority: "high",
  database: "neo4j",
  operation: "rollback_delete",
  saga: "IngestDocument",
  saga_version: 3,
  saga_id: `saga-${n}`,
  step: "neo4j.merge",
  call: 2,
  resources: ["b", "a"],
  fence: 1_795_000_000_123_456,
  payload: { title: 'quotes " and \\ and ünïcode' },
  before: null,
  result: [1, 2],
  error_type: "StoreError",
  error_message: "no answer",
  metadata: { attempts: 4 },
  due_at: "2026-01-02T03:04:05.678Z",
  ...changes
})

describe.skipIf(postgres === null)("psql", () => {
  const client = new pg.Client(postgres ?? "postgres://none")
  const query = async (text: string, values: ReadonlyArray<unknown> = []) =>
    (await client.query(text, [...values])).rows
  const value = async (text: string, values: ReadonlyArray<unknown> = []) => (await query(`${text} AS v`, values))[0]?.v
  const add = (entry: unknown) => value("SELECT dlq_add_entry($1::jsonb)", [JSON.stringify(entry)])
  const row = async (n: number) => (await query("SELECT * FROM dead_letter_queue WHERE id = $1", [id(n)]))[0]

  beforeAll(async () => {
    await client.connect()
    await client.query(`CREATE SCHEMA ${schema}`)
    await client.query(`SET search_path TO ${schema}`)
    await client.query(file("0001_dead_letter_queue"))
    await client.query(file("0101_dead_letter_claims"))
  })
  afterAll(async () => {
    await client.query(`DROP SCHEMA ${schema} CASCADE`)
    await client.end()
  })

  it("dlq_add_entry keeps each parameter in its column, and says that the entry is new", async () => {
    assert.strictEqual(await add(given(1)), true)
    const { created_at, due_at, updated_at, ...rest } = await row(1)
    const { due_at: due, ...entry } = given(1)
    assert.deepStrictEqual(rest, {
      ...entry,
      fence: String(entry.fence),
      status: "pending",
      retry_count: 0,
      max_retries: 10,
      last_retry_at: null,
      resolved_at: null,
      resolved_by: null,
      resolution_notes: null,
      problem: null
    })
    assert.strictEqual(due_at.toISOString(), due)
    assert.strictEqual(created_at.getTime(), updated_at.getTime())
    assert.isBelow(Math.abs(Date.now() - created_at.getTime()), 60_000)
  })

  it("dlq_add_entry changes nothing when the same saga, call and kind come again", async () => {
    assert.strictEqual(await add(given(2)), true)
    assert.strictEqual(await add(given(2, { error_message: "another", id: id(902) })), false)
    assert.strictEqual((await row(2)).error_message, "no answer")
    assert.strictEqual(await row(902), undefined)
  })

  it("dlq_add_entry is due at once and has empty metadata unless told", async () => {
    assert.strictEqual(await add(given(3, { due_at: undefined, metadata: undefined })), true)
    const found = await row(3)
    assert.deepStrictEqual(found.metadata, {})
    assert.strictEqual(found.due_at.getTime(), found.created_at.getTime())
  })

  it("dlq_add_entry refuses a kind and a priority that there are not", async () => {
    for (const wrong of [{ kind: "other" }, { priority: "urgent" }]) {
      const refusal = await add(given(4, wrong)).then(
        () => "added",
        (error: { readonly code: string }) => error.code
      )
      assert.strictEqual(refusal, "23514")
    }
  })

  it("dlq_retry claims for one, and again when the claim ran out", async () => {
    await add(given(5))
    const claim = (until: string) => value("SELECT dlq_retry($1, now() + $2::interval)", [id(5), until])
    assert.strictEqual(await claim("1 hour"), true)
    assert.strictEqual(await claim("1 hour"), false)
    const claimed = await row(5)
    assert.deepStrictEqual([claimed.status, claimed.retry_count], ["retrying", 1])
    assert.isAbove(claimed.due_at.getTime(), claimed.last_retry_at.getTime() + 3_599_000)
    await query("UPDATE dead_letter_queue SET due_at = now() - interval '1 second' WHERE id = $1", [id(5)])
    assert.strictEqual(await claim("1 hour"), true)
    assert.strictEqual((await row(5)).retry_count, 2)
  })

  it("dlq_resolve closes once, with who and why, and only as resolved or discarded", async () => {
    await add(given(6))
    const close = (status: string, by: string) =>
      value("SELECT dlq_resolve($1, $2, $3, $4)", [id(6), status, by, "restored by hand"])
    assert.strictEqual(await close("pending", "ada"), false)
    assert.strictEqual((await row(6)).resolved_at, null)
    assert.strictEqual(await close("discarded", "ada"), true)
    assert.strictEqual(await close("resolved", "bob"), false)
    const { resolution_notes, resolved_at, resolved_by, status } = await row(6)
    assert.deepStrictEqual([status, resolved_by, resolution_notes], ["discarded", "ada", "restored by hand"])
    assert.isBelow(Math.abs(Date.now() - resolved_at.getTime()), 60_000)
    assert.strictEqual(await value("SELECT dlq_retry($1, now())", [id(6)]), false)
    assert.strictEqual(await value("SELECT dlq_resolve($1, 'resolved', 'ada', '')", [id(999)]), false)
  })

  it("dlq_get_stats counts by status, with the oldest of each", async () => {
    await query("TRUNCATE dead_letter_queue")
    for (const n of [10, 11, 12]) await add(given(n))
    await query("UPDATE dead_letter_queue SET created_at = '2026-01-01T00:00:00Z' WHERE id = $1", [id(11)])
    await value("SELECT dlq_resolve($1, 'resolved', 'ada', '')", [id(12)])
    const stats = await query("SELECT status, entries, oldest FROM dlq_get_stats()")
    assert.deepStrictEqual(
      stats.map(({ entries, status }) => [status, entries]),
      [
        ["pending", "2"],
        ["resolved", "1"]
      ]
    )
    assert.strictEqual(stats[0]?.oldest.toISOString(), "2026-01-01T00:00:00.000Z")
  })

  describe("the views", () => {
    beforeAll(async () => {
      await query("TRUNCATE dead_letter_queue")
      await add(given(20))
      await add(given(21, { priority: "critical" }))
      await add(given(22, { database: "qdrant" }))
      await add(given(23))
      await add(given(24))
      await add(given(25, { priority: "critical" }))
      await query("UPDATE dead_letter_queue SET retry_count = max_retries WHERE id = $1", [id(22)])
      await query("UPDATE dead_letter_queue SET status = 'retrying' WHERE id = $1", [id(23)])
      await query("UPDATE dead_letter_queue SET created_at = now() - interval '25 hours' WHERE id = $1", [id(24)])
      await value("SELECT dlq_resolve($1, 'resolved', 'ada', '')", [id(25)])
    })
    const ids = async (view: string) => (await query(`SELECT id FROM ${view}`)).map((one) => one.id)

    it("dlq_unresolved has what waits and is tried, oldest first", async () => {
      assert.deepStrictEqual(await ids("dlq_unresolved"), [24, 20, 21, 22, 23].map(id))
    })

    it("dlq_critical has what waits and is critical or out of tries", async () => {
      assert.deepStrictEqual(await ids("dlq_critical"), [21, 22].map(id))
    })

    it("say why an entry cannot be redriven", async () => {
      await query("UPDATE dead_letter_queue SET problem = 'unknown saga' WHERE id = $1", [id(21)])
      for (const view of ["dlq_unresolved", "dlq_critical"]) {
        const problem = await query(`SELECT problem FROM ${view} WHERE id = $1`, [id(21)])
        assert.deepStrictEqual(problem, [{ problem: "unknown saga" }])
      }
    })

    it("dlq_recent_failures counts the last 24 hours, most frequent first", async () => {
      const recent = await query("SELECT database, operation, error_type, failures FROM dlq_recent_failures")
      assert.deepStrictEqual(recent, [
        { database: "neo4j", operation: "rollback_delete", error_type: "StoreError", failures: "4" },
        { database: "qdrant", operation: "rollback_delete", error_type: "StoreError", failures: "1" }
      ])
    })
  })
})
