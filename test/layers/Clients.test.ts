/** The client layers by their configuration, and everything live by its options. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Fiber, Layer, Redacted, Schema } from "effect"
import * as Redis from "effect/persistence/Redis"
import { SqlClient } from "effect/sql/SqlClient"
import { IoRedis, Neo4j, Neo4jDriver, PostgresClient, Saga, SagaJournal, SagaLive, Step } from "effect-saga"
import { servers } from "../servers/inject.ts"

const { neo4j, postgres, redis } = servers()
const withConfig = (env: Record<string, string>) =>
  Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
const ping = Effect.flatMap(Redis.Redis, (client) => client.send<string>("PING"))

describe.skipIf(redis === null)("ioredis", () => {
  const { hostname, port } = new URL(redis ?? "redis://x:1")

  it.live("connects by a URL, or by host and port", () =>
    Effect.gen(function* () {
      for (const env of [{ REDIS_URL: redis ?? "" }, { REDIS_HOST: hostname, REDIS_PORT: port }]) {
        assert.strictEqual(yield* ping.pipe(Effect.provide(IoRedis.layerConfig), withConfig(env)), "PONG")
      }
      assert.strictEqual(
        yield* ping.pipe(Effect.provide(IoRedis.layer({ host: hostname, port: Number(port) }))),
        "PONG"
      )
      assert.strictEqual(yield* ping.pipe(Effect.provide(IoRedis.layerUrl(`redis://${hostname}:${port}/3`))), "PONG")
    })
  )

  it.live("puts its prefix before the keys of commands and of scripts", () =>
    Effect.gen(function* () {
      const prefix = `prefixed-${process.pid}:`
      const store = Redis.script((key: string, value: string) => [key, value], {
        numberOfKeys: 1,
        lua: "redis.call('SET', KEYS[1], ARGV[1]) return KEYS[1]"
      }).withReturnType<string>()
      const client = (options: IoRedis.Options) =>
        Effect.map(Layer.build(IoRedis.layerUrl(redis ?? "", options)), (built) => Context.get(built, Redis.Redis))
      const [plain, prefixed] = [yield* client({}), yield* client({ keyPrefix: prefix })]
      assert.strictEqual(yield* prefixed.eval(store)("a", "1"), `${prefix}a`)
      assert.strictEqual(yield* plain.eval(store)(`${prefix}b`, "2"), `${prefix}b`)
      assert.deepStrictEqual(
        [yield* prefixed.send("GET", "a"), yield* plain.send("GET", `${prefix}a`), yield* prefixed.send("GET", "b")],
        ["1", "1", "2"]
      )
      yield* prefixed.send("HSET", "h", "field", "1")
      // A reply is what it is without a prefix.
      assert.deepStrictEqual(yield* prefixed.send("HGETALL", "h"), yield* plain.send("HGETALL", `${prefix}h`))
      yield* plain.send("DEL", `${prefix}a`, `${prefix}b`, `${prefix}h`)
    }).pipe(Effect.scoped)
  )

  it.live("sends a script that Redis does not know with its text, unless whoever asked was interrupted meanwhile", () =>
    Effect.gen(function* () {
      const client = Context.get(yield* Layer.build(IoRedis.layerUrl(redis ?? "")), Redis.Redis)
      const key = (name: string) => `unknown-${process.pid}-${name}`
      // Its own text, so that Redis has not seen it.
      const store = (name: string) =>
        client.eval(
          Redis.script((one: string) => [one], {
            numberOfKeys: 1,
            lua: `redis.call('INCR', KEYS[1]) return '${key(name)}'`
          }).withReturnType<string>()
        )(key(name))
      assert.strictEqual(yield* store("wanted"), key("wanted"))
      const asked = yield* Effect.forkChild(store("unwanted"), { startImmediately: true })
      yield* Fiber.interrupt(asked)
      // Answered behind the refusal, and behind what would be sent for it.
      yield* client.send("PING")
      yield* client.send("PING")
      assert.deepStrictEqual(yield* client.send("MGET", key("wanted"), key("unwanted")), ["1", null])
      yield* client.send("DEL", key("wanted"))
    }).pipe(Effect.scoped)
  )

  it.live(
    "fails with the reason for a wrong URL, a wrong password, or nobody there",
    () =>
      Effect.gen(function* () {
        for (const [url, said] of [
          ["http://x", /not a redis/],
          ["no url", /Invalid URL/],
          [`redis://ada:secret@${hostname}:${port}`, /WRONGPASS|AUTH|closed/],
          ["redis://127.0.0.1:1", /ECONNREFUSED|closed/i]
        ] as const) {
          const error = yield* Effect.flip(
            ping.pipe(Effect.provide(IoRedis.layerUrl(url, { retryStrategy: () => null })))
          )
          assert.match(String(error.cause), said)
        }
        const unsure = { REDIS_HOST: "127.0.0.1", REDIS_PORT: "1", REDIS_USERNAME: "ada", REDIS_PASSWORD: "secret" }
        const exit = yield* Effect.exit(ping.pipe(Effect.provide(IoRedis.layerConfig), withConfig(unsure)))
        assert.strictEqual(exit._tag, "Failure")
      }),
    20_000
  )
})

describe.skipIf(neo4j === null)("Neo4j's driver", () => {
  const one = Effect.flatMap(Neo4j, (db) => db.run("RETURN $n AS n, $t AS t", { n: 1, t: "x" }))

  it.live("connects by its configuration, with or without a user, to a database by name", () =>
    Effect.gen(function* () {
      for (const env of [
        { NEO4J_URL: neo4j ?? "" },
        { NEO4J_URL: neo4j ?? "", NEO4J_USER: "neo4j", NEO4J_PASSWORD: "any" },
        { NEO4J_URL: neo4j ?? "", NEO4J_USER: "neo4j", NEO4J_POOL_SIZE: "1" }
      ]) {
        assert.deepStrictEqual(yield* one.pipe(Effect.provide(Neo4jDriver.layerConfig), withConfig(env)), [
          { n: 1, t: "x" }
        ])
      }
      const named = Neo4jDriver.layer({ url: neo4j ?? "", database: "neo4j", user: "a", password: Redacted.make("b") })
      assert.strictEqual((yield* one.pipe(Effect.provide(named))).length, 1)
    })
  )

  it.live(
    "knows a wrong statement from a database that is not there",
    () =>
      Effect.gen(function* () {
        const wrong = yield* Effect.flip(
          Effect.flatMap(Neo4j, (db) => db.run("RETRUN 1")).pipe(
            Effect.provide(Neo4jDriver.layer({ url: neo4j ?? "" }))
          )
        )
        assert.deepStrictEqual([wrong.transient, wrong.maybeApplied], [false, false])
        assert.match(wrong.message, /Neo\.ClientError\.Statement\.SyntaxError/)
        const gone = yield* Effect.flip(one.pipe(Effect.provide(Neo4jDriver.layer({ url: "bolt://127.0.0.1:1" }))))
        assert.deepStrictEqual([gone.transient, gone.maybeApplied], [true, true])
      }),
    20_000
  )
})

describe.skipIf(postgres === null)("PostgreSQL's client", () => {
  /** How many sessions of one client sleep at once when asked thirty times. */
  const sessionsAtOnce = (env: Record<string, string>) =>
    Effect.gen(function* () {
      const built = yield* Layer.build(PostgresClient.layerConfig).pipe(
        withConfig({ DATABASE_URL: postgres ?? "", ...env })
      )
      const sql = Context.get(built, SqlClient)
      const pids = yield* Effect.forEach(
        Array.from({ length: 30 }),
        () => sql<{ pid: number }>`SELECT pg_backend_pid() AS pid, pg_sleep(0.02)`,
        { concurrency: "unbounded" }
      )
      return new Set(pids.flat().map(({ pid }) => pid)).size
    }).pipe(Effect.scoped)

  it.live("has as many connections as it is configured to, whether each carries one statement or several", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* sessionsAtOnce({}), 10)
      assert.strictEqual(yield* sessionsAtOnce({ POSTGRES_POOL_SIZE: "3" }), 3)
      assert.strictEqual(yield* sessionsAtOnce({ POSTGRES_POOL_SIZE: "1", POSTGRES_PIPELINING: "true" }), 1)
    })
  )

  it.live("says which setting is wrong", () =>
    Effect.gen(function* () {
      for (const size of ["0", "many", "1.5"]) {
        assert.match(String(yield* Effect.exit(sessionsAtOnce({ POSTGRES_POOL_SIZE: size }))), /POSTGRES_POOL_SIZE/)
      }
    })
  )
})

describe.skipIf(redis === null || postgres === null)("everything live", () => {
  const clients = Layer.merge(IoRedis.layerUrl(redis ?? ""), PgClient.layer({ url: Redacted.make(postgres ?? "") }))
  const step = Step.make("step", {
    input: Schema.String,
    dependency: "postgres",
    execute: () => Effect.void,
    compensate: () => Effect.void
  })
  const saga = Saga.make("Live", { payload: Schema.String, resource: (id) => id, steps: [step], run: (id) => step(id) })
  let ids = 0

  for (const [env, keeps] of [
    [{}, false],
    [{ SAGA_JOURNAL: "sql" }, true],
    [{ SAGA_JOURNAL: "redis", SAGA_SHARED_BREAKERS: "true" }, true],
    [{ SAGA_LOCKING: "false", SAGA_IDEMPOTENCY: "false" }, false],
    [{ SAGA_BREAKERS: "false", SAGA_RETRIES: "false", SAGA_DEAD_LETTERS: "false" }, false],
    [{ SAGA_LOCK_LEASE: "3 seconds", SAGA_LOCK_WAIT: "1 second", SAGA_IDEMPOTENCY_TTL: "1 hour" }, false]
  ] as const) {
    it.live(`runs a saga with ${JSON.stringify(env)}`, () =>
      Effect.gen(function* () {
        const built = yield* Layer.build(Layer.fresh(SagaLive.layerConfig).pipe(Layer.provide(clients))).pipe(
          withConfig(env)
        )
        assert.strictEqual(Context.get(built, SagaJournal).keeps, keeps)
        const id = `live ${process.pid} ${++ids}`
        const receipt = yield* Effect.provideContext(saga.executeReceipt(id), built)
        const again = yield* Effect.provideContext(saga.executeReceipt(id), built)
        assert.deepStrictEqual([receipt.replayed, again.replayed], [false, !("SAGA_IDEMPOTENCY" in env)])
      }).pipe(Effect.scoped)
    )
  }

  it.live("says which setting is wrong", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Layer.build(SagaLive.layerConfig.pipe(Layer.provide(clients))).pipe(withConfig({ SAGA_JOURNAL: "paper" }))
      )
      assert.match(String(exit), /JOURNAL|paper/)
    }).pipe(Effect.scoped)
  )
})
