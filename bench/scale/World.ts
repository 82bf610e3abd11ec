/** The servers and sagas of the scale experiments. */
import { PgClient } from "@effect/sql-pg"
import { Clock, Context, Effect, Layer, Redacted, Schema } from "effect"
import type * as Redis from "effect/persistence/Redis"
import { SqlClient } from "effect/sql/SqlClient"
import { IoRedis, Saga, SagaLive, Step } from "../../src/index.ts"
import * as PostgresServer from "../../test/servers/Postgres.ts"
import * as RedisServer from "../../test/servers/Redis.ts"
import type { Chart } from "../Plot.ts"

export const Urls = Schema.Struct({ postgres: Schema.String, redis: Schema.String })
export type Urls = typeof Urls.Type

/** What an experiment found: a chart, and what is to be said beside it. */
export interface Found {
  readonly chart: Chart
  readonly notes: ReadonlyArray<string>
}

export const servers = Effect.gen(function* () {
  const postgres = yield* Effect.acquireRelease(Effect.promise(PostgresServer.start), (one) => Effect.promise(one.stop))
  const redis = yield* Effect.acquireRelease(Effect.promise(RedisServer.start), (one) => Effect.promise(one.stop))
  return { postgres: postgres.url, redis: redis.url } satisfies Urls
})

export type World = Saga.SagaServices | Redis.Redis | SqlClient

/** Shipped defaults but for these, on the given servers. */
export const live = (
  urls: Urls,
  options: SagaLive.Options = {},
  redis: Layer.Layer<Redis.Redis, unknown> = IoRedis.layerUrl(urls.redis)
): Layer.Layer<World, unknown> =>
  SagaLive.layerWith({ wait: "10 minutes", ...options }).pipe(
    Layer.provideMerge(
      Layer.fresh(
        Layer.merge(
          redis,
          PgClient.layer({ url: Redacted.make(urls.postgres), minConnections: 20, maxConnections: 20 })
        )
      )
    )
  )

const Doc = Schema.Struct({ id: Schema.String, body: Schema.String })
export class Write extends Context.Service<Write, (id: string) => Effect.Effect<unknown, unknown>>()("bench/Write") {}

/** A saga of so many steps, each of which writes. */
export const sagaOf = (steps: number) => {
  const all = Array.from({ length: steps }, (_, i) =>
    Step.make(`step ${i}`, {
      input: Doc,
      dependency: "postgres",
      execute: ({ id }) => Effect.flatMap(Write, (write) => Effect.asVoid(Effect.orDie(write(`${id} ${i}`)))),
      compensate: () => Effect.void
    })
  )
  return Saga.make(`Steps${steps}`, {
    payload: Doc,
    resource: ({ id }) => id,
    steps: all,
    run: Effect.fnUntraced(function* (doc) {
      for (const step of all) yield* step(doc)
    })
  })
}

/** Rows, one for each write. */
export const writingRows = Effect.gen(function* () {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS bench (id text PRIMARY KEY)`
  return Context.make(Write, (id: string) => sql`INSERT INTO bench (id) VALUES (${id})`)
})
export const writingNothing = Context.make(Write, () => Effect.void)

const run = `${process.pid} ${Date.now()}`
let ids = 0
export const freshId = () => `${run} ${ids++}`

/** Milliseconds. */
export const timed = <E, R>(effect: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const since = clock.currentTimeNanosUnsafe()
    yield* effect
    return Number(clock.currentTimeNanosUnsafe() - since) / 1e6
  })

export const at = (values: ReadonlyArray<number>, share: number) =>
  values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)] ?? 0

/** Median milliseconds of so many runs, one after another. */
export const medianOf = Effect.fnUntraced(function* <E, R>(times: number, once: () => Effect.Effect<unknown, E, R>) {
  const all: Array<number> = []
  for (let i = 0; i < times; i++) all.push(yield* timed(Effect.suspend(once)))
  return at(all, 0.5)
})
