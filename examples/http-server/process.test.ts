/** The real process, as `npm run example:http` starts it: what it measures, and how it ends. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { request } from "node:http"
import { fileURLToPath } from "node:url"
import pg from "pg"
import { afterEach, assert, describe, it } from "vitest"
import { servers } from "../../test/servers/inject.ts"
import { freePort, until } from "../../test/servers/Server.ts"

const running: Array<ChildProcess> = []
afterEach(() => {
  for (const child of running.splice(0)) child.kill("SIGKILL")
})

const launch = (env: Readonly<Record<string, string>>) => {
  const child = spawn(process.execPath, [fileURLToPath(new URL("main.ts", import.meta.url))], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env.PATH ?? "", ...env }
  })
  running.push(child)
  let output = ""
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += String(chunk)
    })
  }
  const exit = once(child, "close").then(() => child.exitCode)
  return { child, exit, output: () => output }
}

const start = async (env: Readonly<Record<string, string>> = {}) => {
  const port = await freePort()
  const server = launch({ PORT: `${port}`, ...env })
  await until(async () => {
    if (server.child.exitCode === null && !server.output().includes("Listening on")) throw new Error("not yet")
  }, "the example server")
  assert.strictEqual(server.child.exitCode, null, server.output())
  return { ...server, url: `http://127.0.0.1:${port}` }
}

const path = (n: number) => `/documents/6f2c1c8e-3f0a-4c55-9c1b-${String(n).padStart(12, "0")}`
const body = JSON.stringify({ title: "t", body: "b", embedding: [0.5, 1], links: [], metadata: {} })
const json = { "content-type": "application/json" }
const post = (url: string) => fetch(url, { method: "POST", headers: json, body })

/** Sends half of the document; yields when the server has begun to read it, with a way to send the rest. */
const begin = async (url: string) => {
  const sent = request(url, {
    method: "POST",
    headers: { ...json, "content-length": body.length, expect: "100-continue" }
  })
  const answered = once(sent, "response").then(async ([response]) => {
    response.resume()
    await once(response, "end")
    return response.statusCode
  })
  sent.flushHeaders()
  await once(sent, "continue")
  sent.write(body.slice(0, 10))
  return () => {
    sent.end(body.slice(10))
    return answered
  }
}

describe("the process of the example HTTP server", { timeout: 90_000 }, () => {
  it("on SIGTERM takes no new request, finishes the one in flight, and ends well", async () => {
    const { child, exit, output, url } = await start()
    assert.strictEqual((await post(url + path(1))).status, 201)
    const finish = await begin(url + path(2))
    child.kill("SIGTERM")
    await until(async () => {
      const open = await fetch(`${url}/health`, { headers: { connection: "close" } }).then(
        () => true,
        () => false
      )
      if (open) throw new Error("it still takes requests")
    }, "the end of the listening")
    assert.strictEqual(child.exitCode, null)
    assert.strictEqual(await finish(), 201)
    assert.strictEqual(await exit, 0)
    assert.notMatch(output(), /ERROR|WARN|Unhandled/)
  })

  it("shows the metrics by their names, labels and buckets", async () => {
    const { child, exit, url } = await start()
    await post(url + path(1))
    await post(url + path(1))
    const answer = await fetch(`${url}/metrics`)
    const lines = (await answer.text()).split("\n")
    child.kill("SIGTERM")
    assert.strictEqual(answer.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8")
    assert.includeMembers(lines, [
      "# TYPE lock_acquisition_duration_seconds histogram",
      "lock_acquisition_duration_seconds_count 1",
      "# TYPE idempotent_cache_hits_total counter",
      "idempotent_cache_hits_total 1",
      "# TYPE circuit_breaker_state gauge",
      ...["postgres", "neo4j", "qdrant", "redis"].map((name) => `circuit_breaker_state{database="${name}"} 0`),
      "# TYPE dead_letter_queue_size gauge",
      "dead_letter_queue_size 0"
    ])
    assert.deepStrictEqual(
      lines.flatMap((line) => /^lock_acquisition_duration_seconds_bucket\{le="(.*)"\} \d+$/.exec(line)?.[1] ?? []),
      ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
    )
    assert.strictEqual(await exit, 0)
  })

  const { neo4j, postgres, qdrant, redis } = servers()

  it.skipIf(postgres === null || redis === null)("writes to the servers that the environment names", async () => {
    const { child, exit, url } = await start({
      DATABASE_URL: postgres ?? "",
      REDIS_URL: redis ?? "",
      NEO4J_URL: neo4j ?? "",
      QDRANT_URL: qdrant ?? "",
      QDRANT_COLLECTION: `example_${process.pid}`,
      QDRANT_SIZE: "2"
    })
    const written = path(process.pid)
    assert.strictEqual((await post(url + written)).status, 201)
    const client = new pg.Client(postgres ?? "")
    await client.connect()
    const { rows } = await client.query("SELECT document->>'title' AS title FROM documents WHERE uuid = $1", [
      written.slice(-36)
    ])
    await client.end()
    assert.deepStrictEqual(rows, [{ title: "t" }])
    assert.strictEqual((await fetch(url + written, { method: "DELETE" })).status, 204)
    child.kill("SIGTERM")
    assert.strictEqual(await exit, 0)
  })

  it("says what is wrong and ends with 1 when it cannot start", async () => {
    const { exit, output } = launch({ PORT: "many" })
    assert.strictEqual(await exit, 1)
    assert.include(output(), "PORT")
  })
})
