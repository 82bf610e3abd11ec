/**
 * `npm run bench:profile`: where the time of an in-memory saga of three steps goes, as a flame graph in
 * docs/pictures/flame-memory.svg and as shares on the terminal.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { Session } from "node:inspector/promises"
import { Context, Effect, Layer, References } from "effect"
import { type Saga, SagaMemory } from "../src/index.ts"
import { flameGraph } from "./FlameGraph.ts"
import { sagaOf, type Write, writingNothing } from "./scale/World.ts"

const SAGAS = 20_000

const saga = sagaOf(3)

const many = (run: string, context: Context.Context<Saga.SagaServices | Write>) =>
  Effect.gen(function* () {
    for (let n = 0; n < SAGAS; n++) yield* saga.execute({ id: `${run} ${n}`, body: "" })
  }).pipe(Effect.provideContext(context))

const program = Effect.gen(function* () {
  const context = Context.merge(yield* Layer.build(SagaMemory.layer), writingNothing)
  process.stderr.write("warming up\n")
  yield* many("warm", context)
  const session = new Session()
  session.connect()
  yield* Effect.promise(() => session.post("Profiler.enable"))
  yield* Effect.promise(() => session.post("Profiler.setSamplingInterval", { interval: 100 }))
  process.stderr.write(`profiling ${SAGAS} sagas\n`)
  yield* Effect.promise(() => session.post("Profiler.start"))
  yield* many("measured", context)
  const { profile } = yield* Effect.promise(() => session.post("Profiler.stop"))
  session.disconnect()
  const folder = new URL("../docs/pictures/", import.meta.url)
  mkdirSync(folder, { recursive: true })
  writeFileSync(new URL("flame-memory.svg", folder), flameGraph(profile, "An in-memory saga of three steps"))
  console.log("written to docs/pictures/flame-memory.svg")
})

await Effect.runPromise(Effect.scoped(program).pipe(Effect.provideService(References.MinimumLogLevel, "Fatal")))
