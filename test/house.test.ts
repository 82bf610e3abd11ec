/** The house rules that no linter knows. */
import { readdirSync, readFileSync } from "node:fs"
import { assert, describe, it } from "vitest"

const source = new URL("../src/", import.meta.url)
const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"))
const read = (file: string) => readFileSync(new URL(file, source), "utf8")

describe("the house", () => {
  it("has files of one idea, at most 300 lines", () => {
    assert.deepStrictEqual(
      files.filter((file) => read(file).split("\n").length > 301),
      []
    )
  })

  it("has no utils, common or helpers", () => {
    assert.deepStrictEqual(
      files.filter((file) => /(^|\/)(utils?|common|helpers?)(\/|\.)/i.test(file)),
      []
    )
  })

  it("casts only in the places named for it", () => {
    const casting = files.filter((file) =>
      read(file)
        .split("\n")
        .some(
          (line) => !/^\s*(\*|\/\/|\/\*|import|export \*|export \{)/.test(line) && / as (?!const\b)[A-Z(]/.test(line)
        )
    )
    const named = ["layers/redis/IoRedis.ts", "saga/internal/Definition.ts", "saga/internal/Park.ts"]
    assert.deepStrictEqual(casting.filter((file) => !named.includes(file)).sort(), [])
  })

  it("imports no optional driver when it is imported", () => {
    const drivers = /^import (?!type).*from "(ioredis|neo4j-driver|@qdrant|@effect\/sql-pg|@electric-sql)/m
    assert.deepStrictEqual(
      files.filter((file) => drivers.test(read(file))),
      []
    )
  })
})
