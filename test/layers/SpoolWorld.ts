/** A private PostgreSQL and Redis, a folder, and a queue with both spools over them. */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted, Schedule } from "effect"
import * as Redis from "effect/persistence/Redis"
import { DeadLetterQueue, IoRedis } from "effect-saga"
import pg from "pg"
import { makeFileSpool } from "../../src/layers/spool/FileSpool.ts"
import { makeRedisSpool } from "../../src/layers/spool/RedisSpool.ts"
import * as SqlDeadLetterQueue from "../../src/layers/sql/SqlDeadLetterQueue.ts"
import * as PostgresServer from "../servers/Postgres.ts"
import * as RedisServer from "../servers/Redis.ts"

const started = <A extends { readonly stop: () => Promise<void> }>(start: () => Promise<A>) =>
  Effect.acquireRelease(Effect.promise(start), (one) => Effect.promise(one.stop))

/** Without a queue: nobody drains. */
export const bare = Effect.gen(function* () {
  const [postgres, redis] = yield* Effect.all([started(PostgresServer.start), started(RedisServer.start)], {
    concurrency: 2
  })
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "effect-saga-spool-"))),
    (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
  )
  const client = yield* Layer.build(IoRedis.layerUrl(redis.url, { commandTimeout: 500 }))
  const stream = makeRedisSpool(Context.get(client, Redis.Redis))
  const files = makeFileSpool(join(folder, "deep", "spool"))
  const spools = [stream, files]
  /** Of each id how many rows. */
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
    /** Above the folder, and not there before it is needed. */
    above: join(folder, "deep"),
    folder: join(folder, "deep", "spool"),
    stream,
    files,
    spools,
    rows
  }
})

export type Bare = Effect.Success<typeof bare>

export const withQueue = Effect.fnUntraced(function* (all: Bare) {
  const queue = yield* Layer.build(
    SqlDeadLetterQueue.layerWith({ spools: all.spools }).pipe(
      Layer.provide(PgClient.layer({ url: Redacted.make(all.postgres.url), connectTimeout: "1 second" })),
      Layer.orDie
    )
  )
  return { ...all, queue: Context.get(queue, DeadLetterQueue) }
})

export const world = Effect.flatMap(bare, withQueue)

export type World = Effect.Success<typeof world>
export const untilDrained = ({ queue }: World) =>
  Effect.flatMap(queue.drained, (drained) => (drained ? Effect.void : Effect.fail("not yet"))).pipe(
    Effect.retry(Schedule.spaced("200 millis").pipe(Schedule.upTo({ duration: "20 seconds" })))
  )
export const inEach = ({ spools }: Bare) =>
  Effect.forEach(spools, (spool) => Effect.map(spool.waiting(1000), (letters) => letters.map(({ id }) => id).sort()))
export const promise = (work: () => Promise<void>) => Effect.promise(work)

/** The table can be read, and whoever writes to it waits. */
export const locked = ({ postgres }: Bare) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const locker = new pg.Client(postgres.url)
      await locker.connect()
      await locker.query("BEGIN")
      await locker.query("LOCK TABLE dead_letter_queue IN EXCLUSIVE MODE")
      return locker
    }),
    (locker) => promise(() => locker.end())
  )
