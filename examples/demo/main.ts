/**
 * `npm run demo`: one document into every store, all or nothing, and what happens when a store fails.
 *
 * Embedded unless DATABASE_URL, REDIS_URL, NEO4J_URL and QDRANT_URL name real servers; the program is the same.
 * `-- --json` ends with one JSON object. Exit 1 if any invariant fails.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Logger, Redacted, References } from "effect"
import { IoRedis, Neo4jDriver, QdrantRest, SagaLive, SagaMemory } from "../../src/index.ts"
import {
  MemoryStores,
  Neo4jGraphStore,
  PostgresDocumentStore,
  QdrantVectorStore,
  RedisDocumentCache
} from "../../src/ingest/index.ts"
import * as EffectBreakers from "../../src/layers/breakers/EffectBreakers.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import * as Scenes from "./Scenes.ts"

const json = process.argv.includes("--json")
const databaseUrl = process.env.DATABASE_URL ?? ""
const redisUrl = process.env.REDIS_URL ?? ""
const neo4jUrl = process.env.NEO4J_URL ?? ""
const qdrantUrl = process.env.QDRANT_URL ?? ""

const out = (line: string) => Effect.sync(() => console.log(line))

const scenes = Effect.gen(function* () {
  let broken = 0
  const show: Scenes.Show = {
    say: out,
    check: (held, what) => {
      if (!held) broken++
      return out(`  ${held ? "✓" : "✗"} ${what}`)
    }
  }
  const scene = <A, E, R>(number: number, title: string, effect: Effect.Effect<A, E, R>) =>
    Effect.andThen(out(`\n[${number}/6] ${title}`), effect)

  const writes = yield* scene(1, "A first write, and a repeat", Scenes.firstAndRepeat(show))
  const waiterMs = yield* scene(2, "Three writers race for one document", Scenes.race(show))
  const compensated = yield* scene(3, "The third store fails: compensation", Scenes.compensation(show))
  const deadLetters = yield* scene(4, "A compensation fails too: a dead letter", Scenes.deadLetter(show))
  const breaker = yield* scene(5, "A breaker opens and recovers", Scenes.breaker(show, Scenes.demoPause))
  const mix = yield* scene(6, "Twenty operations at once", Scenes.mix(show))
  yield* out(broken === 0 ? "\nEvery invariant held." : `\n${broken} invariants FAILED.`)
  if (json) yield* out(JSON.stringify({ ...writes, waiterMs, mix, compensated, deadLetters, breaker }))
  return broken
})

const sql =
  databaseUrl === ""
    ? PgliteClient.layer
    : PgClient.layer({ url: Redacted.make(databaseUrl), minConnections: 16, maxConnections: 16 })
// The demo waits for an open breaker, so it is open for half a second, not for a minute.
const breakers = EffectBreakers.layerMemory({ qdrant: { failures: 5, openFor: Scenes.demoPause } })

const services =
  redisUrl === ""
    ? Layer.merge(SagaMemory.layer, MemoryStores.layer)
    : Layer.mergeAll(SagaLive.layer, Layer.provideMerge(RedisDocumentCache.layer, MemoryStores.layer)).pipe(
        Layer.provideMerge(IoRedis.layerUrl(redisUrl))
      )

const graph = Neo4jGraphStore.layer.pipe(Layer.provide(Neo4jDriver.layerConfig), Layer.orDie)
const vectors = QdrantVectorStore.layerWith({ collection: "effect_saga_demo", size: 4 }).pipe(
  Layer.provide(QdrantRest.layerConfig),
  Layer.orDie
)

const everything = Layer.mergeAll(
  PostgresDocumentStore.layer,
  breakers,
  neo4jUrl === "" ? Layer.empty : graph,
  qdrantUrl === "" ? Layer.empty : vectors
).pipe(Layer.provideMerge(services), Layer.provideMerge(sql))

const program = out(
  `effect-saga demo: rows in ${databaseUrl === "" ? "PGlite (embedded PostgreSQL)" : "PostgreSQL"}, ` +
    `lock, records and cache in ${redisUrl === "" ? "memory" : "Redis"}, ` +
    `graph in ${neo4jUrl === "" ? "memory" : "Neo4j"}, vectors in ${qdrantUrl === "" ? "memory" : "Qdrant"}`
).pipe(
  Effect.andThen(scenes),
  Effect.provide(everything),
  // The scenes say what happens; the log would say it twice.
  Effect.provideService(References.MinimumLogLevel, "Fatal"),
  Effect.provide(Logger.layer([Logger.consolePretty()]))
)

Effect.runPromise(program).then(
  (broken) => {
    process.exitCode = broken === 0 ? 0 : 1
  },
  (cause: unknown) => {
    console.error(
      `The demo could not run: ${cause}. Check DATABASE_URL, REDIS_URL, NEO4J_URL and QDRANT_URL, or unset them to run embedded.`
    )
    process.exitCode = 1
  }
)
