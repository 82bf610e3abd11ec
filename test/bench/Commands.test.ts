/** The benchmarks run, on real servers; what they measure is for a machine that does nothing else. */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { assert, describe, it } from "vitest"
import { next, start } from "../../bench/scale/Process.ts"
import * as Postgres from "../servers/Postgres.ts"
import * as Redis from "../servers/Redis.ts"

const run = (file: string, ...flags: ReadonlyArray<string>) =>
  promisify(execFile)(process.execPath, [fileURLToPath(new URL(`../../bench/${file}`, import.meta.url)), ...flags], {
    maxBuffer: 64 * 1024 * 1024,
    timeout: 280_000
  })

/** What the last line says, as JSON. */
const found = (stdout: string): Record<string, unknown> => JSON.parse(stdout.trim().split("\n").at(-1) ?? "")

// They start servers of their own.
describe.skipIf(!(Postgres.available() && Redis.available()))("the benchmarks", { timeout: 300_000 }, () => {
  it("measure how costs grow, each experiment in small", async () => {
    const { stdout } = await run("scale/main.ts", "--quick", "--json")
    const experiments = ["concurrency", "waiting", "records", "letters", "hot", "woken", "steps", "payload"]
    assert.deepStrictEqual(Object.keys(found(stdout)), experiments)
  })

  it("measure a saga beside bare writes, in one round", async () => {
    const { stdout } = await run("main.ts", "--rounds", "1", "--json")
    assert.containsAllKeys(found(stdout), ["memory", "servers", "ingest", "journalRatio"])
  })
})

describe("a benchmark that there is not", () => {
  it("is answered with those that there are", async () => {
    const { stderr } = await run("scale/main.ts", "--only", "nothing").then(
      () => assert.fail("it ran"),
      (error: { readonly stderr: string }) => error
    )
    assert.include(stderr, "there is no experiment nothing: choose among concurrency, waiting")
  })
})

describe("a process of a benchmark", () => {
  const telling = new URL("TellingProcess.ts", import.meta.url)

  it("tells all before it ends, however much that is", async () => {
    assert.lengthOf(String(await next(start(telling, 4_000_000))), 4_000_000)
  })

  it("is an error when it ends without having told", async () => {
    const silent = start(telling, 0)
    const error = await next(silent).then(
      () => assert.fail("it told something"),
      (error: Error) => error
    )
    const again = await next(silent).catch((error: Error) => error)
    assert.deepStrictEqual(again, error)
    assert.strictEqual(error.message, "a process ended without an answer, with code 0: what it wrote stands above")
  })
})
