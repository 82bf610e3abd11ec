/** Schemas are compiled where code may be made at run time, and say the same where it may not. */
import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { assert, describe, it } from "@effect/vitest"

const file = new URL("./compiled-process.ts", import.meta.url).pathname
const told = async (...flags: ReadonlyArray<string>) =>
  (await promisify(execFile)(process.execPath, [...flags, file])).stdout.trim().split("\n")

describe("a saga whose schemas are compiled", () => {
  it("does the same in a process that may not make code", { timeout: 60_000 }, async () => {
    const [compiled, interpreted] = await Promise.all([told(), told("--disallow-code-generation-from-strings")])
    assert.deepStrictEqual(compiled.slice(0, 3), [
      "true",
      "ran 2 1970-01-01T00:00:00.000Z",
      "replayed 2 1970-01-01T00:00:00.000Z"
    ])
    assert.include(compiled[3], "Expected a finite number")
    assert.deepStrictEqual(interpreted, ["false", ...compiled.slice(1)])
  })
})
