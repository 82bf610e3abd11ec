import { readFileSync } from "node:fs"
import { assert, describe, it, vi } from "vitest"

const text = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")

describe("docs/saga.md", () => {
  const guide = text("docs/saga.md")
  const program = text("examples/docs/Guide.ts")

  it("has the program that is run, piece by piece", () => {
    const pieces = [...guide.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, piece]) => piece)
    assert.strictEqual(pieces.join("\n"), program)
  })

  it("tells what the program prints", async () => {
    const printed: Array<string> = []
    const log = vi.spyOn(console, "log").mockImplementation((...args) => void printed.push(args.map(String).join(" ")))
    try {
      await import("../../examples/docs/Guide.ts")
    } finally {
      log.mockRestore()
    }
    const told = [...program.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, output]) => output)
    assert.deepStrictEqual(
      printed.filter((line) => !/ERROR \(#/.test(line)),
      told
    )
  })

  it("links to files that there are", () => {
    for (const [, link = ""] of guide.matchAll(/\]\(([^)#]+)/g)) assert.isAbove(text(`docs/${link}`).length, 0)
  })

  it("names each kind of dead letter and each error of a saga", () => {
    const kinds = /DeadLetterKind = Schema\.Literals\(\[(.*)\]\)/.exec(text("src/schema/DeadLetter.ts"))?.[1] ?? ""
    const errors = /export type SagaError =\n([\s\S]*?)\nexport/.exec(text("src/saga/Saga.ts"))?.[1] ?? ""
    const named = [...kinds.matchAll(/"(\w+)"/g), ...errors.matchAll(/\| (\w+)$/gm)].map(([, name]) => name ?? "")
    assert.isAbove(named.length, 10)
    assert.deepStrictEqual(
      named.filter((name) => !guide.includes(`\`${name}\``)),
      []
    )
  })
})
