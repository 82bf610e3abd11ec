/** The examples in doc comments are files that run, and print what they say they print. */
import { readFileSync } from "node:fs"
import { inspect as show } from "node:util"
import { assert, describe, it, vi } from "vitest"

const examples = {
  "src/saga/Saga.ts": "Saga",
  "src/saga/Step.ts": "Step",
  "src/services/DistributedLock.ts": "DistributedLock",
  "src/testing/Explorer.ts": "Explorer"
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
      try {
        await import(`../../examples/docs/${name}.ts`)
      } finally {
        log.mockRestore()
      }
      const said = [...file.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, output]) => output)
      assert.deepStrictEqual(printed, said)
    }, 60_000)
  }
})
