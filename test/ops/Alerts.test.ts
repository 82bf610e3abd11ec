/** The alert rules, by Prometheus' own tools, and scraped by a real Prometheus from the example server. */
import { spawnSync } from "node:child_process"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Schema } from "effect"
import { assert, describe, it } from "vitest"
import { freePort, type RunningServer, run, until } from "../servers/Server.ts"

const path = (file: string) => fileURLToPath(new URL(`../../${file}`, import.meta.url))
const there = spawnSync("promtool", ["--version"]).status === 0

if (!there) {
  const sentence = "promtool CANNOT BE HAD, the alert rules are not tested: install Debian's prometheus"
  if (process.env.CI === "true") throw new Error(sentence)
  console.error(sentence)
}

const promtool = (...args: ReadonlyArray<string>) => {
  const { status, stderr, stdout } = spawnSync("promtool", [...args], { encoding: "utf8" })
  return { status, output: stdout + stderr }
}

/** Starts the example server on the embedded default. */
const example = async (): Promise<RunningServer> => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  return run({
    name: "the example server",
    url,
    port,
    command: process.execPath,
    args: [path("examples/http-server/main.ts")],
    options: { env: { PATH: process.env.PATH, PORT: `${port}` } },
    end: "SIGTERM",
    ready: () => fetch(`${url}/health`).then(() => {}),
    cleanUp: () => Promise.resolve()
  })
}

/** A Prometheus that scrapes it every second, with our rules. */
const prometheus = async (target: number): Promise<RunningServer> => {
  const port = await freePort()
  const home = await mkdtemp(join(tmpdir(), "effect-saga-prometheus-"))
  const config = join(home, "prometheus.yml")
  await writeFile(
    config,
    JSON.stringify({
      global: { scrape_interval: "1s", evaluation_interval: "1s" },
      rule_files: [path("ops/alerts.yml")],
      scrape_configs: [{ job_name: "example", static_configs: [{ targets: [`127.0.0.1:${target}`] }] }]
    })
  )
  const url = `http://127.0.0.1:${port}`
  return run({
    name: "Prometheus",
    url,
    port,
    command: "prometheus",
    args: [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(home, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`
    ],
    options: { cwd: home },
    end: "SIGTERM",
    ready: async () => assert.strictEqual((await fetch(`${url}/-/ready`)).status, 200),
    cleanUp: () => rm(home, { recursive: true, force: true })
  })
}

const Found = Schema.Struct({
  data: Schema.Struct({
    result: Schema.Array(
      Schema.Struct({
        metric: Schema.Record(Schema.String, Schema.String),
        value: Schema.Tuple([Schema.Finite, Schema.String])
      })
    )
  })
})
const Rules = Schema.Struct({
  data: Schema.Struct({
    groups: Schema.Array(
      Schema.Struct({
        rules: Schema.Array(Schema.Struct({ name: Schema.String, health: Schema.String, state: Schema.String }))
      })
    )
  })
})

describe.skipIf(!there)("the alert rules", () => {
  it("are valid", () => {
    const { output, status } = promtool("check", "rules", path("ops/alerts.yml"))
    assert.strictEqual(status, 0, output)
    assert.include(output, "2 rules found")
  })

  it("fire when they should and not before", () => {
    const { output, status } = promtool("test", "rules", path("ops/alerts_test.yml"))
    assert.strictEqual(status, 0, output)
    assert.include(output, "SUCCESS")
  })

  it("find their metrics in what a real Prometheus scrapes from the example server", { timeout: 120_000 }, async () => {
    const server = await example()
    const scraper = await prometheus(server.port)
    try {
      const document = { title: "t", body: "b", embedding: [0.5], links: [], metadata: {} }
      for (const _ of [1, 2]) {
        await fetch(`${server.url}/documents/6f2c1c8e-3f0a-4c55-9c1b-0d8f6a1b2c3d`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(document)
        })
      }
      const query = async (text: string) => {
        const answer = await fetch(`${scraper.url}/api/v1/query?query=${encodeURIComponent(text)}`)
        return Schema.decodeUnknownSync(Found)(await answer.json()).data.result
      }
      const value = async (text: string) => (await query(text))[0]?.value[1]
      await until(async () => assert.strictEqual(await value("idempotent_cache_hits_total"), "1"), "the scrape")
      assert.sameMembers(
        (await query("circuit_breaker_state == 0")).map(({ metric }) => metric.database),
        ["postgres", "neo4j", "qdrant", "redis"]
      )
      assert.strictEqual(await value("dead_letter_queue_size"), "0")
      assert.strictEqual(await value('lock_acquisition_duration_seconds_bucket{le="+Inf"}'), "1")
      await until(async () => {
        const answer = await fetch(`${scraper.url}/api/v1/rules`)
        const { data } = Schema.decodeUnknownSync(Rules)(await answer.json())
        assert.deepStrictEqual(
          data.groups.flatMap(({ rules }) => rules.map(({ health, name, state }) => [name, health, state])),
          [
            ["CircuitBreakerOpenFrequently", "ok", "inactive"],
            ["DeadLetterQueueGrowing", "ok", "inactive"]
          ]
        )
      }, "the rules")
    } finally {
      await Promise.all([server.stop(), scraper.stop()])
    }
  })
})
