/** Three writes as a saga beside the same three made bare: in memory, and on PostgreSQL and Redis. */
import { Context, Effect, Layer, Schema } from "effect"
import * as Redis from "effect/persistence/Redis"
import { SqlClient } from "effect/sql/SqlClient"
import { MemoryJournal, Saga, SagaLive, SagaMemory, Step } from "../src/index.ts"
import { type Contender, type Measured, measure, progress } from "./Sample.ts"
import { clients } from "./Servers.ts"

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

export const inMemory = Effect.fnUntraced(function* (rounds: number) {
  const done: Writes = { row: Effect.void, entry: Effect.void }
  const stores = () => done
  const build = (layer: Layer.Layer<Saga.SagaServices>) => Layer.build(Layer.fresh(layer))
  const contenders = [
    bare(stores),
    over("saga in memory", yield* build(SagaMemory.layer), stores),
    over("saga in memory, journal", yield* build(Layer.merge(SagaMemory.layer, MemoryJournal.layer)), stores)
  ]
  return yield* measure(contenders, { rounds, perRound: 200, onRound: progress("in memory") })
}, Effect.scoped)

export const onServers = Effect.fnUntraced(function* (rounds: number) {
  const context = yield* clients
  const sql = Context.get(context, SqlClient)
  const client = Context.get(context, Redis.Redis)
  yield* sql`CREATE TABLE bench (id text PRIMARY KEY, n int NOT NULL)`
  const stores = (id: string): Writes => ({
    row: sql`INSERT INTO bench (id, n) VALUES (${id}, 1) ON CONFLICT (id) DO UPDATE SET n = bench.n + 1`,
    entry: client.send("SET", `bench:${id}`, "1", "PX", "60000")
  })
  const build = (options: SagaLive.Options) =>
    Layer.build(Layer.fresh(SagaLive.layerWith(options).pipe(Layer.provide(Layer.succeedContext(context)))))
  const contenders = [
    bare(stores),
    over("no lock, no idempotency", yield* build({ locking: false, idempotency: false }), stores),
    over("shipped defaults", yield* build({}), stores),
    over("journal in Redis", yield* build({ journal: "redis" }), stores),
    over("journal in SQL", yield* build({ journal: "sql" }), stores)
  ]
  return yield* measure(contenders, { rounds, perRound: 25, onRound: progress("real servers") })
}, Effect.scoped)

const find = (rows: ReadonlyArray<Measured>, name: string) =>
  rows.find((row) => row.name === name) ?? { medianMs: 0, p99Ms: 0, ratio: 0, throughput: 0 }

/** What lock, idempotency and journals add, and a saga in memory. */
export const added = (memory: ReadonlyArray<Measured>, servers: ReadonlyArray<Measured>) => {
  const [plain, defaults] = [find(servers, "no lock, no idempotency"), find(servers, "shipped defaults")]
  const against = (name: string) => find(servers, name).medianMs / defaults.medianMs
  return {
    lockAndIdempotencyMs: defaults.medianMs - plain.medianMs,
    lockAndIdempotencyP99Ms: defaults.p99Ms - plain.p99Ms,
    journalRatio: { none: 1, redis: against("journal in Redis"), sql: against("journal in SQL") },
    inMemoryOverheadMicros: (find(memory, "saga in memory").medianMs - (memory[0]?.medianMs ?? 0)) * 1000
  }
}
