/**
 * The child of the gate: how many bytes one three-step saga allocates in memory, as one line of JSON.
 *
 * Started with a young generation that nothing fills, so that the heap only grows between two forced collections and its
 * growth is what was allocated. A collection in a window would hide some of it: such a window is thrown away. There is no
 * optimizing compiler, which comes when it likes and takes allocations away; so the same code allocates the same.
 */
import { PerformanceObserver } from "node:perf_hooks"
import { Effect, Layer, References, Schema } from "effect"
import { MemoryJournal, Saga, SagaMemory, Step } from "../../src/index.ts"
import { WASTE } from "./Figures.ts"

const SAGAS = 100
const WARM_UP = 4
const WINDOWS = 5

const Doc = Schema.Struct({ id: Schema.String })
const wasteful = process.argv.includes(WASTE)
/** What the gate is tried with: 16 KiB more a saga. */
const waste = () => (wasteful ? new Array<number>(2048).fill(0) : undefined)

const writing = <const Name extends string>(name: Name) =>
  Step.make(name, {
    input: Doc,
    dependency: name,
    execute: () => Effect.void,
    compensate: () => Effect.void
  })
const [first, second, third] = [writing("first"), writing("second"), writing("third")]
const saga = Saga.make("Gate", {
  payload: Doc,
  resource: ({ id }) => id,
  steps: [first, second, third],
  run: Effect.fnUntraced(function* (doc) {
    waste()
    yield* first(doc)
    yield* second(doc)
    yield* third(doc)
  })
})

const collect = globalThis.gc
if (collect === undefined) throw new Error("start it by the gate, with --expose-gc")
const used = () => process.memoryUsage().heapUsed

let collections = 0
const observer = new PerformanceObserver((list) => {
  collections += list.getEntries().length
})
observer.observe({ entryTypes: ["gc"] })
/** Entries are told from the event loop. */
const turn = Effect.callback<void>((resume) => {
  setImmediate(() => setImmediate(() => resume(Effect.void)))
})

/** Bytes a saga, of each window in which nothing was collected. */
const windows = (name: string) =>
  Effect.gen(function* () {
    const bytes: Array<number> = []
    for (let window = -WARM_UP; window < WINDOWS; window++) {
      const ids = Array.from({ length: SAGAS }, (_, n) => ({ id: `${name} ${window + WARM_UP} ${n + 1000}` }))
      collect()
      yield* turn
      collections = 0
      const before = used()
      for (const doc of ids) yield* saga.execute(doc)
      const grown = used() - before
      yield* turn
      if (window >= 0 && collections === 0) bytes.push(grown / SAGAS)
    }
    return bytes
  })

const layers = { memory: SagaMemory.layer, journal: Layer.merge(SagaMemory.layer, MemoryJournal.layer) }
const program = Effect.gen(function* () {
  return {
    memory: yield* windows("memory").pipe(Effect.provide(layers.memory)),
    journal: yield* windows("journal").pipe(Effect.provide(layers.journal))
  }
}).pipe(Effect.provideService(References.MinimumLogLevel, "Fatal"))

console.log(JSON.stringify(await Effect.runPromise(program)))
observer.disconnect()
