import { readFileSync } from "node:fs"
import { assert, it, vi } from "vitest"

const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), "utf8")

it("the saga of the README is the example, and prints what it says", async () => {
  const example = read("examples/place-order.ts")
  assert.include(read("README.md"), `\`\`\`ts\n${example.trimEnd()}\n\`\`\``)
  const log = vi.spyOn(console, "log").mockImplementation(() => {})
  await import("../../examples/place-order.ts")
  assert.deepStrictEqual(log.mock.calls.at(-1), ["Declined", 0])
  log.mockRestore()
})
