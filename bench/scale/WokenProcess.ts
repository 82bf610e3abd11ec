/** One process of those that wait in the experiment of waking. */
import { on } from "node:events"
import { Context, Effect, Layer, References, Schema, Stream } from "effect"
import { tell } from "./Process.ts"
import { type Noted, noting, now, Order } from "./WokenWorld.ts"
import { freshId, live, sagaOf, Urls, Write, writingRows } from "./World.ts"

const urls = Schema.decodeUnknownSync(Schema.fromJsonString(Urls))(process.argv[2])
const saga = sagaOf(1)
const noted: Noted = { pending: 0, held: 0, committed: 0 }

/** Redis has told that the lock is another's, and nothing more is asked. */
const quiet = Effect.gen(function* () {
  for (let seen = 0; seen < 2; seen = noted.held > 0 && noted.pending === 0 ? seen + 1 : 0) {
    yield* Effect.sleep("1 millis")
  }
})

const serving = (rows: Context.Service.Shape<typeof Write>) =>
  Effect.fnUntraced(function* ({ count, id, key, kind }: Order) {
    noted.held = 0
    const results: Array<number> = []
    let admitted: number | undefined
    const write = () =>
      Effect.suspend(() => {
        admitted ??= now()
        return rows(freshId())
      })
    const one = (n: number) =>
      saga
        .executeReceipt({ id, body: "" }, { idempotencyKey: kind === "same" ? key : `${key} ${process.pid} ${n}` })
        .pipe(
          Effect.tap(({ replayed }) => Effect.sync(() => void (replayed && results.push(now())))),
          Effect.provideService(Write, write)
        )
    const all = Effect.all(
      Array.from({ length: count }, (_, n) => one(n)),
      { concurrency: "unbounded" }
    )
    const told = Effect.andThen(
      quiet,
      Effect.promise(() => tell("waiting"))
    )
    yield* Effect.all([all, told], { concurrency: 2 })
    yield* Effect.promise(() => tell(kind === "same" ? results : admitted === undefined ? [] : [admitted]))
  })

const program = Effect.gen(function* () {
  const serve = serving(Context.get(yield* writingRows, Write))
  const orders = Stream.fromAsyncIterable(on(process, "message"), (cause) => cause)
  yield* Effect.promise(() => tell("ready"))
  yield* Stream.runForEach(orders, ([message]) => serve(Schema.decodeUnknownSync(Order)(message)))
})

await Effect.runPromise(
  Effect.scoped(
    Effect.flatMap(Layer.build(live(urls, {}, noting(urls.redis, noted))), (context) =>
      Effect.provideContext(program, context)
    )
  ).pipe(Effect.provideService(References.MinimumLogLevel, "Fatal"))
)
