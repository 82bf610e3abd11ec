/** One process of the concurrency experiment. */
import { once } from "node:events"
import { Effect, Layer, References, Schema } from "effect"
import { tell } from "./Process.ts"
import { freshId, live, sagaOf, timed, Urls, writingRows } from "./World.ts"

const { each, seconds, urls } = Schema.decodeUnknownSync(
  Schema.fromJsonString(Schema.Struct({ urls: Urls, each: Schema.Int, seconds: Schema.Number }))
)(process.argv[2])
const saga = sagaOf(3)

const program = Effect.gen(function* () {
  const rows = yield* writingRows
  const oneSaga = () => Effect.provideContext(saga.execute({ id: freshId(), body: "" }), rows)
  yield* Effect.forEach(Array.from({ length: 300 }), oneSaga, { concurrency: 16, discard: true })
  const go = once(process, "message")
  yield* Effect.promise(() => tell("ready"))
  yield* Effect.promise(() => go)
  const times: Array<number> = []
  const until = Date.now() + seconds * 1000
  const worker = Effect.gen(function* () {
    while (Date.now() < until) times.push(yield* timed(oneSaga()))
  })
  const took = yield* timed(
    Effect.all(
      Array.from({ length: each }, () => worker),
      { concurrency: "unbounded" }
    )
  )
  yield* Effect.promise(() => tell({ perSecond: (times.length / took) * 1000, times }))
})

await Effect.runPromise(
  Effect.scoped(Effect.flatMap(Layer.build(live(urls)), (context) => Effect.provideContext(program, context))).pipe(
    Effect.provideService(References.MinimumLogLevel, "Fatal")
  )
)
process.exit(0)
