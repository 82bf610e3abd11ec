/** Many workers over one table of dead letters, on the real PostgreSQL and Redis. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Schedule, Schema } from "effect"
import { DeadLetterQueue, DeadLetterWorker, IoRedis, Saga, SagaLive, Step } from "effect-saga"
import { entry } from "../contract/DeadLetterQueueContract.ts"
import { servers } from "../servers/inject.ts"

const { postgres, redis } = servers()
const LETTERS = 1000
const POISONED = 10
const WORKERS = 8

describe.skipIf(postgres === null || redis === null)("8 workers and 1,000 dead letters", () => {
  it.live(
    "each runs once, and 10 poisoned ones stop nobody",
    () =>
      Effect.gen(function* () {
        const runs = new Map<string, number>()
        const name = `Redriven-${process.pid}`
        const step = Step.make("step", {
          input: Schema.String,
          error: Schema.String,
          execute: () => Effect.void,
          compensate: (id) =>
            Effect.suspend(() => {
              runs.set(id, (runs.get(id) ?? 0) + 1)
              return id.startsWith("poisoned") ? Effect.fail("as ever") : Effect.void
            })
        })
        const saga = Saga.make(name, {
          payload: Schema.String,
          error: Schema.String,
          resource: (id) => id,
          steps: [step],
          run: (id) => step(id)
        })
        const clients = Layer.merge(
          IoRedis.layerUrl(redis ?? ""),
          PgClient.layer({ url: Redacted.make(postgres ?? ""), maxConnections: 6 })
        )
        const live = () => Layer.fresh(SagaLive.layer.pipe(Layer.provide(Layer.fresh(clients))))
        const queue = Context.get(yield* Layer.build(live()), DeadLetterQueue)
        yield* Effect.forEach(
          Array.from({ length: LETTERS }, (_, i) => (i < POISONED ? `poisoned ${i}` : `letter ${i}`)),
          (id) =>
            queue.add(
              entry({ saga: name, step: "step", resources: [`${name} ${id}`], input: id, output: null, metadata: {} })
            ),
          { concurrency: 6, discard: true }
        )
        const worker = () =>
          DeadLetterWorker.layer({ sagas: [saga], concurrency: 8, schedule: Schedule.spaced("200 millis") }).pipe(
            Layer.provide(live())
          )
        yield* Effect.forEach(Array.from({ length: WORKERS }), () => Layer.build(worker()), { concurrency: WORKERS })
        const open = Effect.map(
          Effect.all([
            queue.list({ saga: name, status: "pending", limit: LETTERS }),
            queue.list({ saga: name, status: "retrying", limit: LETTERS })
          ]),
          (pages) => pages.flat()
        )
        yield* Effect.retry(
          Effect.filterOrFail(
            open,
            (letters) => letters.length <= POISONED && letters.every((one) => one.retryCount > 0)
          ),
          Schedule.spaced("200 millis").pipe(Schedule.upTo({ duration: "60 seconds" }))
        )
        const left = yield* open
        assert.deepStrictEqual(
          left.map(({ errorMessage, retryCount, status }) => [errorMessage, retryCount, status]),
          left.map(() => ["as ever", 1, "pending"])
        )
        assert.strictEqual(left.length, POISONED)
        assert.strictEqual(runs.size, LETTERS)
        assert.deepStrictEqual(
          [...runs.values()].filter((n) => n !== 1),
          []
        )
      }).pipe(Effect.scoped),
    120_000
  )
})
