/**
 * `npm run bench`: what a saga costs beside the same three writes made bare, in memory and on the real PostgreSQL and
 * Redis; what lock and idempotency add, and what each journal adds. `-- --json` ends with one JSON object.
 */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted, References, Schema } from "effect"
import * as Redis from "effect/persistence/Redis"
import { SqlClient } from "effect/sql/SqlClient"
import { IoRedis, MemoryJournal, Saga, SagaLive, SagaMemory, Step } from "../src/index.ts"
import * as PostgresServer from "../test/servers/Postgres.ts"
import * as RedisServer from "../test/servers/Redis.ts"
import { type Contender, type Measured, measure, table } from "./Sample.ts"

const json = process.argv.includes("--json")
const progress = (what: string) => (round: number) => process.stderr.write(`\r${what}: round ${round}   `)

const Doc = Schema.Struct({ id: Schema.String })
type Writes = { readonly row: Effect.Effect<unknown, unknown>; readonly entry: Effect.Effect<unknown, unknown> }
class Stores extends Context.Service<Stores, (id: string) => Writes>()("bench/Stores") {}

const write = (name: string, which: keyof Writes) =>
  Step.make(name, {
    input: Doc,
    dependency: name,
    execute: ({ id }) => Effect.flatMap(Stores, (stores) => Effect.orDie(stores(id)[which])).pipe(Effect.asVoid),
    compensate: () => Effect.void
  })
const [first, second, third] = [write("first", "row"), write("second", "entry"), write("third", "entry")]
const saga = Saga.make("Bench", {
  payload: Doc,
  resource: ({ id }) => id,
  steps: [first, second, third],
  run: Effect.fnUntraced(function* (doc) {
    yield* first(doc)
    yield* second(doc)
    yield* third(doc)
  })
})

const bare = (stores: (id: string) => Writes): Contender<never> => ({
  name: "three bare writes",
  once: (n) => {
    const { entry, row } = stores(`bare ${n}`)
    return Effect.andThen(row, Effect.andThen(entry, entry))
  }
})

const over = (
  name: string,
  services: Context.Context<Saga.SagaServices>,
  stores: (id: string) => Writes
): Contender<never> => {
  const context = Context.add(services, Stores, stores)
  const run = `${process.pid} ${Date.now()}`
  return { name, once: (n) => Effect.provideContext(saga.execute({ id: `${run} ${name} ${n}` }), context) }
}

const inMemory = Effect.gen(function* () {
  const done: Writes = { row: Effect.void, entry: Effect.void }
  const stores = () => done
  const build = (layer: Layer.Layer<Saga.SagaServices>) => Layer.build(Layer.fresh(layer))
  const contenders = [
    bare(stores),
    over("saga in memory", yield* build(SagaMemory.layer), stores),
    over("saga in memory, journal", yield* build(Layer.merge(SagaMemory.layer, MemoryJournal.layer)), stores)
  ]
  return yield* measure(contenders, { rounds: 20, perRound: 200, onRound: progress("in memory") })
})

const onServers = Effect.gen(function* () {
  const postgres = yield* Effect.acquireRelease(Effect.promise(PostgresServer.start), (one) => Effect.promise(one.stop))
  const redis = yield* Effect.acquireRelease(Effect.promise(RedisServer.start), (one) => Effect.promise(one.stop))
  const clients = yield* Layer.build(
    Layer.merge(
      IoRedis.layerUrl(redis.url),
      PgClient.layer({ url: Redacted.make(postgres.url), minConnections: 20, maxConnections: 20 })
    )
  )
  const sql = Context.get(clients, SqlClient)
  const client = Context.get(clients, Redis.Redis)
  yield* sql`CREATE TABLE bench (id text PRIMARY KEY, n int NOT NULL)`
  const stores = (id: string): Writes => ({
    row: sql`INSERT INTO bench (id, n) VALUES (${id}, 1) ON CONFLICT (id) DO UPDATE SET n = bench.n + 1`,
    entry: client.send("SET", `bench:${id}`, "1", "PX", "60000")
  })
  const build = (options: SagaLive.Options) =>
    Layer.build(Layer.fresh(SagaLive.layerWith(options).pipe(Layer.provide(Layer.succeedContext(clients)))))
  const contenders = [
    bare(stores),
    over("no lock, no idempotency", yield* build({ locking: false, idempotency: false }), stores),
    over("shipped defaults", yield* build({}), stores),
    over("journal in Redis", yield* build({ journal: "redis" }), stores),
    over("journal in SQL", yield* build({ journal: "sql" }), stores)
  ]
  return yield* measure(contenders, { rounds: 20, perRound: 25, onRound: progress("real servers") })
}).pipe(Effect.scoped)

const find = (rows: ReadonlyArray<Measured>, name: string) =>
  rows.find((row) => row.name === name) ?? { medianMs: 0, p99Ms: 0, ratio: 0, throughput: 0 }

const program = Effect.gen(function* () {
  const memory = yield* inMemory
  process.stderr.write("\n")
  const servers = yield* onServers
  process.stderr.write("\n")
  console.log(`in memory\n${table(memory)}\n\nPostgreSQL (fsync on) and Redis\n${table(servers)}`)
  const [plain, defaults] = [find(servers, "no lock, no idempotency"), find(servers, "shipped defaults")]
  const overhead = defaults.p99Ms - plain.p99Ms
  console.log(
    `\nlock and idempotency add ${(defaults.medianMs - plain.medianMs).toFixed(2)} ms (median), ${overhead.toFixed(2)} ms (p99)`
  )
  const against = (name: string) => find(servers, name).medianMs / defaults.medianMs
  console.log(
    `journal per saga, as a ratio to none: Redis ${against("journal in Redis").toFixed(2)}, SQL ${against("journal in SQL").toFixed(2)}`
  )
  if (json) {
    console.log(
      JSON.stringify({
        memory,
        servers,
        lockAndIdempotencyP99Ms: overhead,
        journalRatio: { none: 1, redis: against("journal in Redis"), sql: against("journal in SQL") },
        inMemoryOverheadMicros: (find(memory, "saga in memory").medianMs - (memory[0]?.medianMs ?? 0)) * 1000
      })
    )
  }
})

await Effect.runPromise(Effect.scoped(program).pipe(Effect.provideService(References.MinimumLogLevel, "Fatal")))
