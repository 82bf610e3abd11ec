/** Guards on the real Redis of the tests, and what is asked of them. */
import { Context, Effect, Layer } from "effect"
import { type IdempotencyRequest, IoRedis, SagaGuard, SagaGuardRedis } from "effect-saga"
import { Redis as Client } from "ioredis"
import * as ComposedGuard from "../../src/layers/guard/ComposedGuard.ts"
import * as RedisIdempotency from "../../src/layers/redis/RedisIdempotency.ts"
import { ledgerKey } from "../../src/layers/redis/RedisKeys.ts"
import * as RedisLock from "../../src/layers/redis/RedisLock.ts"
import { fresh } from "../contract/IdempotencyRequests.ts"
import { result } from "../contract/SagaGuardRequests.ts"
import { servers } from "../servers/inject.ts"

export const url = servers().redis ?? ""
export { callers as request, fresh as own } from "../contract/IdempotencyRequests.ts"
export { result } from "../contract/SagaGuardRequests.ts"
export type Guard = SagaGuard["Service"]

/** Each is a process of its own to Redis. */
export const fused = (options: SagaGuardRedis.SagaGuardRedisOptions = {}, at = url, client: IoRedis.Options = {}) =>
  Effect.map(
    Layer.build(Layer.fresh(SagaGuardRedis.layerWith(options).pipe(Layer.provide(IoRedis.layerUrl(at, client))))),
    (built) => Context.get(built, SagaGuard)
  )
export const composed = Effect.map(
  Layer.build(
    Layer.fresh(
      ComposedGuard.layer.pipe(
        Layer.provide([RedisLock.layer, RedisIdempotency.layer]),
        Layer.provide(Layer.fresh(IoRedis.layerUrl(url)))
      )
    )
  ),
  (built) => Context.get(built, SagaGuard)
)
export const plain = Effect.acquireRelease(
  Effect.sync(() => new Client(url)),
  (client) => Effect.sync(() => client.disconnect())
)
export const asked = <A>(work: () => Promise<A>) => Effect.promise(work)

/** How many sagas stand in the resources' ledgers as admitted and not ended. */
export const marksOn = async (client: Client, resources: ReadonlyArray<string>) => {
  const ledgers = await client.mget(...resources.map(ledgerKey))
  return ledgers.reduce((marks, ledger) => marks + (ledger ?? "").split("\n").length - 1, 0)
}

/** Enters, does its work and commits: the recorded result, or "ran". */
export const serve = (
  guard: Guard,
  one: IdempotencyRequest,
  text = "one",
  work: Effect.Effect<unknown> = Effect.void
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const admission = yield* guard.enter({ ...one, sagaId: fresh("saga") })
      if (admission._tag === "Replayed") return admission.result
      yield* work
      yield* admission.commit(result(text))
      return "ran"
    })
  )

/** The commands that clients send while `work` runs, without those inside scripts; only those that mention it. */
export const commandsDuring = <A, E, R>(work: Effect.Effect<A, E, R>, mentioning = "") =>
  Effect.gen(function* () {
    const client = yield* plain
    // Its own handshake is over.
    yield* asked(() => client.ping())
    // What is asked meanwhile may be told before the client knows that it monitors, which it takes for a broken reply.
    const monitor = yield* Effect.tryPromise(() => client.monitor()).pipe(Effect.retry({ times: 5 }), Effect.orDie)
    const seen: Array<string> = []
    monitor.on("monitor", (_time: string, args: ReadonlyArray<string>, source: string) => {
      const command = String(args[0]).toUpperCase()
      if (source === "lua") return
      if (command === "PING" || args.some((arg) => arg.includes(mentioning))) seen.push(command)
    })
    yield* Effect.exit(work)
    yield* asked(() => client.ping("the end"))
    while (!seen.includes("PING")) yield* Effect.sleep("2 millis")
    monitor.disconnect()
    return seen.filter((command) => command !== "PING")
  }).pipe(Effect.scoped)

/** Once nobody has anything left to ask: a busy machine may take a while until it has asked. */
export const quiet = commandsDuring(Effect.sleep("200 millis")).pipe(
  Effect.repeat({ until: (commands) => commands.length === 0 }),
  Effect.timeout("10 seconds"),
  Effect.orDie
)
