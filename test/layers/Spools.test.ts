/** Dead letters while PostgreSQL, Redis or the disk do not take them: each test has servers of its own. */
import { randomUUID } from "node:crypto"
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Layer, Logger, Redacted, Schedule, Schema } from "effect"
import * as Redis from "effect/persistence/Redis"
import { DeadLetterQueue, IoRedis, Saga, SagaMemory, Step } from "effect-saga"
import pg from "pg"
import { makeFileSpool } from "../../src/layers/spool/FileSpool.ts"
import { makeRedisSpool } from "../../src/layers/spool/RedisSpool.ts"
import * as SqlDeadLetterQueue from "../../src/layers/sql/SqlDeadLetterQueue.ts"
import { entry } from "../contract/DeadLetterQueueContract.ts"
import { servers } from "../servers/inject.ts"
import * as PostgresServer from "../servers/Postgres.ts"
import * as RedisServer from "../servers/Redis.ts"

const started = <A extends { readonly stop: () => Promise<void> }>(start: () => Promise<A>) =>
  Effect.acquireRelease(Effect.promise(start), (one) => Effect.promise(one.stop))

const world = Effect.gen(function* () {
  const [postgres, redis] = yield* Effect.all([started(PostgresServer.start), started(RedisServer.start)], {
    concurrency: 2
  })
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "effect-saga-spool-"))),
    (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
  )
  const client = yield* Layer.build(IoRedis.layerUrl(redis.url, { commandTimeout: 500 }))
  const spools = [makeRedisSpool(Context.get(client, Redis.Redis)), makeFileSpool(join(folder, "deep", "spool"))]
  const queue = yield* Layer.build(
    SqlDeadLetterQueue.layerWith({ spools }).pipe(
      Layer.provide(PgClient.layer({ url: Redacted.make(postgres.url), connectTimeout: "1 second" })),
      Layer.orDie
    )
  )
  const rows = Effect.promise(async () => {
    const plain = new pg.Client(postgres.url)
    await plain.connect()
    const { rows } = await plain.query<{ id: string; n: number }>(
      "SELECT id::text, count(*)::int AS n FROM dead_letter_queue GROUP BY id"
    )
    await plain.end()
    return new Map(rows.map(({ id, n }) => [id, n]))
  })
  return {
    postgres,
    redis,
    folder: join(folder, "deep", "spool"),
    spools,
    queue: Context.get(queue, DeadLetterQueue),
    rows
  }
})

type World = Effect.Success<typeof world>
const untilDrained = ({ queue }: World) =>
  Effect.flatMap(queue.drained, (drained) => (drained ? Effect.void : Effect.fail("not yet"))).pipe(
    Effect.retry(Schedule.spaced("200 millis").pipe(Schedule.upTo({ duration: "20 seconds" })))
  )
const inEach = ({ spools }: World) =>
  Effect.forEach(spools, (spool) => Effect.map(spool.waiting, (letters) => letters.map(({ id }) => id).sort()))
const promise = (work: () => Promise<void>) => Effect.promise(work)

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
    "do not hold up a saga for long when PostgreSQL hangs",
    () =>
      Effect.gen(function* () {
        const all = yield* world
        // Whoever writes to the table waits, as for a server that hangs.
        const locker = new pg.Client(all.postgres.url)
        yield* Effect.promise(async () => {
          await locker.connect()
          await locker.query("BEGIN")
          await locker.query("LOCK TABLE dead_letter_queue")
        })
        const [took, id] = yield* Effect.timed(all.queue.add(entry()))
        assert.isBelow(Duration.toMillis(took), 8000)
        assert.include(yield* Effect.promise(() => readdir(all.folder)), `${id}.json`)
        yield* promise(() => locker.end())
        yield* untilDrained(all)
        assert.deepStrictEqual(yield* all.rows, new Map([[id, 1]]))
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
        const [copy] = yield* all.spools[0]?.waiting ?? Effect.succeed([])
        yield* promise(all.postgres.restart)
        yield* untilDrained(all)
        yield* all.spools[1]?.put(id, copy?.json ?? "") ?? Effect.void
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
        const [stream, files] = all.spools
        yield* stream?.put("00000000-0000-8000-8000-000000000001", "no json") ?? Effect.void
        yield* files?.put("00000000-0000-8000-8000-000000000002", '{"id": "no uuid"}') ?? Effect.void
        yield* promise(all.postgres.kill)
        const id = yield* all.queue.add(entry())
        yield* promise(all.postgres.restart)
        yield* untilDrained(all)
        assert.deepStrictEqual(yield* all.rows, new Map([[id, 1]]))
        assert.deepStrictEqual(yield* Effect.promise(() => readdir(all.folder)), [
          "00000000-0000-8000-8000-000000000002.json.unreadable"
        ])
      }).pipe(Effect.scoped),
    60_000
  )
})
