/** What sagas cost that only wait: all for one resource, in one process. Run with `--expose-gc`. */
import { Context, Deferred, Effect, Fiber, Layer, References, Schema } from "effect"
import { MemoryLock, type Saga, SagaMemory } from "../../src/index.ts"
import * as ComposedGuard from "../../src/layers/guard/ComposedGuard.ts"
import * as MemoryIdempotency from "../../src/layers/memory/MemoryIdempotency.ts"
import { tell } from "./Process.ts"
import { live, sagaOf, Urls, Write } from "./World.ts"

const { count, urls } = Schema.decodeUnknownSync(
  Schema.fromJsonString(Schema.Struct({ count: Schema.Int, urls: Schema.optionalKey(Urls) }))
)(process.argv[2])

const used = () => {
  globalThis.gc?.()
  globalThis.gc?.()
  const { heapUsed, rss } = process.memoryUsage()
  return { heapUsed, rss }
}

const patient = Layer.fresh(ComposedGuard.layer).pipe(
  Layer.provideMerge(Layer.merge(MemoryLock.layerWith({ wait: "10 minutes" }), MemoryIdempotency.layer))
)
const layer: Layer.Layer<Saga.SagaServices, unknown> =
  urls === undefined ? Layer.merge(SagaMemory.layer, patient) : live(urls)

const end = Deferred.makeUnsafe<void>()
let first = true
const write = Context.make(Write, () => {
  const holds = first
  first = false
  return holds ? Deferred.await(end) : Effect.void
})

const program = Effect.gen(function* () {
  const saga = sagaOf(1)
  const start = (i: number) =>
    Effect.forkChild(saga.execute({ id: "one", body: "" }, { idempotencyKey: `key ${i}` }), { startImmediately: true })
  const holder = yield* start(-1)
  yield* Effect.sleep("200 millis")
  const before = used()
  const waiters = []
  for (let i = 0; i < count; i++) {
    waiters.push(yield* start(i))
    if (i % 1000 === 0) yield* Effect.sleep("1 millis")
  }
  yield* Effect.sleep(urls === undefined ? "500 millis" : "5 seconds")
  const after = used()
  const since = Date.now()
  yield* Fiber.interruptAll(waiters)
  const ended = Date.now() - since
  yield* Deferred.succeed(end, undefined)
  yield* Fiber.join(holder)
  const megabytes = (bytes: number) => bytes / 1024 / 1024
  const waited = {
    heap: megabytes(after.heapUsed - before.heapUsed),
    rss: megabytes(after.rss - before.rss),
    endedMs: ended
  }
  yield* Effect.promise(() => tell(waited))
})

await Effect.runPromise(
  Effect.scoped(
    Effect.flatMap(Layer.build(layer), (context) => Effect.provideContext(program, Context.merge(context, write)))
  ).pipe(Effect.provideService(References.MinimumLogLevel, "Fatal"))
)
process.exit(0)
