/**
 * `npm run explore`: every fault at every instant of the document saga, and sagas with planted bugs, which must be
 * caught. `-- --json` ends with one JSON object. Exit 1 when a schedule violates an invariant or a bug is not caught.
 */
import { Effect, Logger } from "effect"
import { Ingest, ingestDocument, MemoryStores } from "../../src/ingest/index.ts"
import { Explorer } from "../../src/testing/index.ts"
import { document, snapshot } from "./Documents.ts"
import { nested } from "./Nested.ts"
import * as Planted from "./Planted.ts"

const json = process.argv.includes("--json")
const tty = process.stderr.isTTY

const progress = (name: string) => (done: number, total: number) => {
  if (tty) process.stderr.write(`\r${name}: ${done} of ${total} schedules`)
  else if (done % 200 === 0 || done === total) process.stderr.write(`${name}: ${done} of ${total} schedules\n`)
  if (tty && done === total) process.stderr.write("\n")
}

const documents = { payload: document("one"), second: document("two"), world: MemoryStores.layer, snapshot }
const show = (seed: string, message: string) => console.log(`  ${seed}: ${message}`)

const program = Effect.gen(function* () {
  const reports = {
    "one store after another": yield* Explorer.explore(ingestDocument, {
      ...documents,
      onProgress: progress("one store after another")
    }),
    "all stores at once": yield* Explorer.explore(Ingest.make({ parallel: true }), {
      ...documents,
      onProgress: progress("all stores at once")
    }),
    "nested in another saga": yield* Explorer.explore(nested, {
      ...documents,
      onProgress: progress("nested in another saga")
    })
  }
  let schedules = 0
  let violations = 0
  for (const [name, report] of Object.entries(reports)) {
    schedules += report.schedules
    violations += report.violations.length
    console.log(`${name}: ${report.schedules} schedules, ${report.violations.length} violations`)
    for (const { message, seed } of report.violations) show(seed, message)
  }
  let plantedCaught = 0
  for (const [bug, saga] of Object.entries(Planted.planted)) {
    const found = yield* Explorer.explore(saga, {
      payload: 1,
      second: 2,
      world: Planted.Counter.layer,
      snapshot: Planted.snapshot,
      onProgress: progress(`planted: ${bug}`)
    })
    const first = found.violations[0]
    console.log(
      `planted: ${bug}: ${first === undefined ? "NOT caught" : `caught in ${found.violations.length}, first`}`
    )
    if (first !== undefined) {
      plantedCaught++
      show(first.seed, first.message)
    }
  }
  if (json) console.log(JSON.stringify({ schedules, violations, plantedCaught }))
  if (violations > 0 || plantedCaught < Object.keys(Planted.planted).length) process.exitCode = 1
})

await Effect.runPromise(Effect.provide(program, Logger.layer([])))
