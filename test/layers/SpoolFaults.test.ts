/** Dead letters while a server hangs, a table is locked, or nothing takes them: none is lost, none waits for long. */
import { readdir, rm, utimes, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Duration, Effect, Fiber, Layer, Metric, Redacted, Schedule } from "effect"
import { DeadLetterQueue } from "effect-saga"
import pg from "pg"
import * as SqlDeadLetterQueue from "../../src/layers/sql/SqlDeadLetterQueue.ts"
import { deadLetterQueueSize } from "../../src/services/Metrics.ts"
import { entry } from "../contract/DeadLetterQueueContract.ts"
import { servers } from "../servers/inject.ts"
import * as Valve from "../servers/Valve.ts"
import { inEach, locked, promise, untilDrained, world } from "./SpoolWorld.ts"

const gauge = Effect.map(Metric.value(deadLetterQueueSize), ({ value }) => value)
const eventually = (check: Effect.Effect<boolean>) =>
  Effect.retry(
    Effect.filterOrFail(check, (holds) => holds),
    Schedule.spaced("100 millis").pipe(Schedule.upTo({ duration: "20 seconds" }))
  )

describe.skipIf(servers().postgres === null || servers().redis === null)("dead letters", () => {
  it.live(
    "wait, counted once and not set aside, for as long as their table is locked",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        const closed = yield* all.queue.add(entry())
        yield* all.queue.resolve(closed, "test", "")
        const id = yield* Effect.scoped(
          Effect.gen(function* () {
            yield* locked(all)
            const [took, id] = yield* Effect.timed(all.queue.add(entry()))
            assert.isBelow(Duration.toMillis(took), 5000)
            assert.isFalse(yield* all.queue.drained)
            assert.strictEqual(yield* all.queue.purge(DateTime.makeUnsafe("2100-01-01")), 0)
            assert.deepStrictEqual(yield* inEach(all), [[id], [id]])
            assert.strictEqual(yield* all.queue.size, 1)
            assert.strictEqual(yield* gauge, 1)
            return id
          })
        )
        yield* untilDrained(all)
        assert.deepStrictEqual(
          yield* all.rows,
          new Map([
            [closed, 1],
            [id, 1]
          ])
        )
        assert.deepStrictEqual(yield* Effect.promise(() => readdir(all.folder)), [])
        assert.strictEqual(yield* all.queue.size, 1)
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "are spooled within 5 seconds when PostgreSQL hangs, where nothing can be interrupted too",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        const valve = yield* Effect.acquireRelease(
          Effect.promise(() => Valve.start(all.postgres.port)),
          (one) => promise(one.stop)
        )
        const services = yield* Layer.build(
          SqlDeadLetterQueue.layerWith({ spools: all.spools }).pipe(
            Layer.provide(
              PgClient.layer({ url: Redacted.make(`postgres://postgres@127.0.0.1:${valve.port}/postgres`) })
            ),
            Layer.orDie
          )
        )
        const queue = Context.get(services, DeadLetterQueue)
        valve.shut()
        const [took, id] = yield* Effect.timed(Effect.uninterruptible(queue.add(entry())))
        assert.isBelow(Duration.toMillis(took), 5000)
        assert.include(yield* Effect.promise(() => readdir(all.folder)), `${id}.json`)
        valve.open()
        yield* untilDrained(all)
        assert.deepStrictEqual(yield* all.rows, new Map([[id, 1]]))
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "are added though whoever adds them is interrupted",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        yield* promise(all.postgres.kill)
        const fiber = yield* Effect.forkChild(all.queue.add(entry()), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        assert.strictEqual((yield* Effect.promise(() => readdir(all.folder))).length, 1)
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "that only the log took are counted, tried again, and keep journals open",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        yield* promise(all.postgres.kill)
        yield* promise(all.redis.kill)
        yield* promise(() => writeFile(all.above, "in the way"))
        const id = yield* all.queue.add(entry())
        assert.isFalse(yield* all.queue.drained)
        yield* eventually(Effect.map(gauge, (n) => n === 1))
        yield* promise(() => rm(all.above))
        yield* promise(all.redis.restart)
        yield* promise(all.postgres.restart)
        yield* untilDrained(all)
        assert.deepStrictEqual(yield* all.rows, new Map([[id, 1]]))
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "half written by a process that died are removed after a day, and are no letters before",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        yield* all.files.put("00000000-0000-8000-8000-000000000003", "no json")
        const [young, old] = [join(all.folder, "young.1.part"), join(all.folder, "old.1.part")]
        yield* promise(async () => {
          for (const path of [young, old]) await writeFile(path, "{")
          await utimes(old, new Date(0), new Date(0))
        })
        yield* untilDrained(all)
        assert.deepStrictEqual(yield* Effect.promise(() => readdir(all.folder)), [
          "00000000-0000-8000-8000-000000000003.json.unreadable",
          "young.1.part"
        ])
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "that somebody parked without end are listed with the others",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        const ids = yield* Effect.forEach([entry(), entry(), entry()], all.queue.add)
        yield* promise(async () => {
          const plain = new pg.Client(all.postgres.url)
          await plain.connect()
          await plain.query("UPDATE dead_letter_queue SET due_at = 'infinity' WHERE id = $1", [ids[0]])
          await plain.query("UPDATE dead_letter_queue SET due_at = '-infinity' WHERE id = $1", [ids[1]])
          await plain.end()
        })
        const listed = yield* all.queue.list()
        assert.deepStrictEqual(
          listed.map(({ id }) => id),
          ids
        )
        const claimed = yield* all.queue.claimDue({
          sagas: ["Write"],
          limit: 10,
          until: DateTime.makeUnsafe("2100-01-01")
        })
        assert.notInclude(
          claimed.map(({ id }) => id),
          ids[0]
        )
      }).pipe(Effect.scoped),
    60_000
  )
})
