/** Dead letters while PostgreSQL, Redis or the disk do not take them: each test has servers of its own. */
import { randomUUID } from "node:crypto"
import { mkdir, readdir, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Logger, Schema } from "effect"
import { DeadLetterQueue, Saga, SagaMemory, Step } from "effect-saga"
import { entry } from "../contract/DeadLetterQueueContract.ts"
import { servers } from "../servers/inject.ts"
import { inEach, promise, untilDrained, world } from "./SpoolWorld.ts"

describe.skipIf(servers().postgres === null || servers().redis === null)("spooled dead letters", () => {
  it.live(
    "go to both spools while PostgreSQL is down, and to the table when it is back, once",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        yield* promise(all.postgres.kill)
        const added = yield* Effect.forEach([entry(), entry(), entry()], (one) => all.queue.add(one), {
          concurrency: 3
        })
        assert.deepStrictEqual(yield* inEach(all), [added.toSorted(), added.toSorted()])
        assert.isFalse(yield* all.queue.drained)
        assert.strictEqual(yield* all.queue.purge(entry().dueAt), 0)
        yield* promise(all.postgres.restart)
        yield* untilDrained(all)
        assert.deepStrictEqual(yield* inEach(all), [[], []])
        assert.deepStrictEqual(yield* all.rows, new Map(added.map((id) => [id, 1])))
        assert.strictEqual(yield* all.queue.size, 3)
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "of sagas whose rollback met a stopped PostgreSQL: none of 100 is lost, none doubled",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        const letters: Array<string> = []
        const orphan = Step.make("orphan", {
          input: Schema.String,
          execute: () => Effect.void,
          compensate: () => Effect.die(new Error("its store is down"))
        })
        const failing = Step.make("failing", {
          input: Schema.String,
          error: Schema.String,
          isTransient: () => false,
          execute: () => Effect.fail("no"),
          compensate: () => Effect.void
        })
        const saga = Saga.make("Orphans", {
          payload: Schema.String,
          error: Schema.String,
          resource: (name) => name,
          steps: [orphan, failing],
          run: (name) => Effect.andThen(orphan(name), failing(name))
        })
        const services = SagaMemory.layerWith({ retries: false })
        const once = Effect.gen(function* () {
          const error = yield* Effect.flip(saga.execute(randomUUID()))
          if (typeof error === "object" && error._tag === "CompensationError") {
            letters.push(...error.failures.map(({ deadLetterId }) => deadLetterId))
          }
        }).pipe(Effect.provideService(DeadLetterQueue, all.queue))
        yield* Effect.gen(function* () {
          for (let round = 0; round < 5; round++) {
            yield* Effect.all(
              [
                Effect.forEach(
                  Array.from({ length: 20 }, (_, i) => i),
                  (i) => Effect.delay(once, Duration.millis(i * 10)),
                  { concurrency: "unbounded", discard: true }
                ),
                Effect.delay(promise(all.postgres.kill), "60 millis")
              ],
              { concurrency: 2 }
            )
            yield* promise(all.postgres.restart)
          }
        }).pipe(Effect.provide(services))
        assert.strictEqual(letters.length, 100)
        yield* untilDrained(all)
        assert.deepStrictEqual(yield* all.rows, new Map(letters.map((id) => [id, 1])))
      }).pipe(Effect.scoped),
    90_000
  )

  it.live(
    "go to the other spool when Redis is down too, and to the log, as JSON, when nothing takes them",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        yield* promise(all.postgres.kill)
        yield* promise(all.redis.kill)
        const id = yield* all.queue.add(entry())
        assert.deepStrictEqual(yield* Effect.promise(() => readdir(all.folder)), [`${id}.json`])
        yield* Effect.promise(() => rm(all.folder, { recursive: true }))
        yield* Effect.promise(() => writeFile(all.folder, "in the way"))
        const lines: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) => {
          if (logLevel === "Fatal") lines.push(String(Array.isArray(message) ? message[0] : message))
        })
        const lost = entry({ step: "last resort" })
        const lostId = yield* all.queue.add(lost).pipe(Effect.provide(Logger.layer([logger])))
        assert.strictEqual(lines.length, 1)
        const { deadLetter } = Schema.decodeUnknownSync(
          Schema.fromJsonString(Schema.Struct({ deadLetter: Schema.Record(Schema.String, Schema.Unknown) }))
        )(lines[0])
        assert.deepInclude(deadLetter, { id: lostId, step: "last resort", saga_id: lost.sagaId, fence: lost.fence })
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "are in the table once when a drain died before it removed them, or others drain too",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        yield* promise(all.postgres.kill)
        const id = yield* all.queue.add(entry())
        const [copy] = yield* all.stream.waiting(1)
        yield* promise(all.postgres.restart)
        yield* untilDrained(all)
        yield* all.files.put(id, copy?.json ?? "")
        yield* Effect.all([all.queue.drained, all.queue.drained, all.queue.drained], { concurrency: 3 })
        yield* untilDrained(all)
        assert.deepStrictEqual(yield* all.rows, new Map([[id, 1]]))
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "that cannot be read are set aside and stop nobody",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        yield* all.stream.put("00000000-0000-8000-8000-000000000001", "no json")
        yield* all.files.put("00000000-0000-8000-8000-000000000002", '{"id": "no uuid"}')
        yield* promise(() => mkdir(join(all.folder, "a folder.json")))
        yield* promise(all.postgres.kill)
        const id = yield* all.queue.add(entry())
        yield* promise(all.postgres.restart)
        yield* untilDrained(all)
        assert.deepStrictEqual(yield* all.rows, new Map([[id, 1]]))
        assert.deepStrictEqual(yield* Effect.promise(() => readdir(all.folder)), [
          "00000000-0000-8000-8000-000000000002.json.unreadable",
          "a folder.json.unreadable"
        ])
      }).pipe(Effect.scoped),
    60_000
  )
})
