import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { Ingest, ingestDocument, MemoryStores } from "../../src/ingest/index.ts"
import { Explorer } from "../../src/testing/index.ts"
import { document, snapshot } from "./Documents.ts"
import { nested } from "./Nested.ts"
import * as Planted from "./Planted.ts"

const documents = { payload: document("one"), second: document("two"), world: MemoryStores.layer, snapshot }
const silent = Effect.provide(Logger.layer([]))

describe("the explorer", () => {
  const sagas = {
    "the document saga": Explorer.explore(ingestDocument, documents),
    "the document saga with its stores written at once": Explorer.explore(Ingest.make({ parallel: true }), documents),
    "a nested saga": Explorer.explore(nested, documents)
  }
  for (const [name, exploration] of Object.entries(sagas)) {
    it.live(
      `finds ${name} whole, absent or explained after every fault, and every fault beside a failing step`,
      () =>
        Effect.gen(function* () {
          const report = yield* exploration
          assert.isAbove(report.schedules, 300)
          assert.deepStrictEqual(report.violations, [])
        }).pipe(silent),
      120_000
    )
  }

  for (const [bug, saga] of Object.entries(Planted.planted)) {
    it.live(`catches a saga in which ${bug}, and its seed shows it again`, () =>
      Effect.gen(function* () {
        const options = { payload: 1, second: 2, world: Planted.Counter.layer, snapshot: Planted.snapshot }
        const { violations } = yield* Explorer.explore(saga, options)
        const first = violations[0]
        assert.isDefined(first)
        const again = yield* Explorer.explore(saga, { ...options, seed: first?.seed ?? "" })
        assert.strictEqual(again.schedules, 1)
        assert.deepStrictEqual(again.violations, [first])
      }).pipe(silent)
    )
  }

  it.live("says what a seed has to look like", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Explorer.explore(ingestDocument, { ...documents, seed: "nonsense" }))
      assert.match(`${exit}`, /nonsense is not a seed/)
    }).pipe(silent)
  )
})
