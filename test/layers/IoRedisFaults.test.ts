/** What becomes of commands while the connection is away: sent again, or given up, and then Redis does not hear them. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer } from "effect"
import * as Redis from "effect/persistence/Redis"
import { IoRedis } from "effect-saga"
import { servers } from "../servers/inject.ts"
import * as RedisServer from "../servers/Redis.ts"

const started = Effect.acquireRelease(Effect.promise(RedisServer.start), (server) => Effect.promise(server.stop))
const clientOf = (url: string, options: IoRedis.Options) =>
  Effect.map(Layer.build(IoRedis.layerUrl(url, options)), (context) => Context.get(context, Redis.Redis))
const promise = (work: () => Promise<void>) => Effect.promise(work)

describe.skipIf(servers().redis === null)("commands while the connection is away", () => {
  it.live("fails what was on its way once the connection broke twice, and Redis does not hear it when it is back", () =>
    Effect.gen(function* () {
      const server = yield* started
      const client = yield* clientOf(server.url, {})
      server.pause()
      const onItsWay = yield* Effect.forkChild(Effect.flip(client.send("SET", "on its way", "1")))
      yield* Effect.yieldNow
      yield* promise(server.kill)
      const waiting = yield* Effect.flip(client.send("SET", "waiting", "1"))
      const failed = yield* Fiber.join(onItsWay)
      for (const { cause } of [waiting, failed])
        assert.match(String(cause), /max retries per request limit \(which is 1\)/)
      yield* promise(server.restart)
      yield* Effect.retry(client.send("PING"), { times: 3 })
      assert.deepStrictEqual(yield* client.send("MGET", "on its way", "waiting"), [null, null])
    }).pipe(Effect.scoped)
  )

  it.live("sends what was on its way once more when Redis is back sooner", () =>
    Effect.gen(function* () {
      const server = yield* started
      const client = yield* clientOf(server.url, { maxRetriesPerRequest: 50 })
      server.pause()
      const onItsWay = yield* Effect.forkChild(client.send("SET", "on its way", "1"))
      yield* Effect.yieldNow
      yield* promise(server.kill)
      yield* promise(server.restart)
      assert.strictEqual(yield* Fiber.join(onItsWay), "OK")
      assert.strictEqual(yield* client.send("GET", "on its way"), "1")
    }).pipe(Effect.scoped)
  )
})
