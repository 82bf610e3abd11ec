/** The examples in doc comments are files that run, and print what they say they print. */
import { readdirSync, readFileSync } from "node:fs"
import { basename } from "node:path"
import { inspect as show } from "node:util"
import { assert, describe, it, vi } from "vitest"
import { servers } from "../servers/inject.ts"

const examples: Record<string, string> = {
  "src/saga/Saga.ts": "Saga",
  "src/saga/Step.ts": "Step",
  "src/layers/SagaMemory.ts": "SagaMemory",
  "src/layers/SagaLive.ts": "SagaLive",
  "src/layers/redis/RedisLock.ts": "RedisLock",
  "src/ingest/Ingest.ts": "Ingest",
  "src/testing/Explorer.ts": "Explorer"
}
/** These hold names and types, nothing that runs; time limits and whether somebody traces are not public. */
const without = ["Metrics", "Toggles", "Deadlines", "Traced", "AfterTurn", "Alarm"]
for (const file of readdirSync(new URL("../../src/services/", import.meta.url))) {
  const name = basename(file, ".ts")
  if (!without.includes(name)) examples[`src/services/${file}`] = name
}
const text = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")
const shown = (args: ReadonlyArray<unknown>) => args.map((arg) => inspect(arg)).join(" ")

const inspect = (value: unknown) => (typeof value === "string" ? value : show(value))

describe("the examples of doc comments", () => {
  for (const [source, name] of Object.entries(examples)) {
    it(`${source} shows what examples/docs/${name}.ts runs`, async () => {
      const file = text(`examples/docs/${name}.ts`)
      const block = /\* ```ts\n([\s\S]*?)\n \* ```/.exec(text(source))?.[1] ?? ""
      const code = block.split("\n").map((line) => line.replace(/^ \* ?/, ""))
      assert.strictEqual(`${code.join("\n")}\n`, file)
      const printed: Array<string> = []
      const log = vi.spyOn(console, "log").mockImplementation((...args) => void printed.push(shown(args)))
      vi.stubEnv("REDIS_URL", servers().redis ?? undefined)
      try {
        await import(`../../examples/docs/${name}.ts`)
      } finally {
        log.mockRestore()
        vi.unstubAllEnvs()
      }
      const said = [...file.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, output]) => output)
      assert.deepStrictEqual(printed, said)
    }, 60_000)
  }
})
