/** The contracts of idempotency over memory, and on a real Redis by both clients, as one node and as a cluster's. */
import { NodeRedis } from "@effect/platform-node"
import { describe } from "@effect/vitest"
import { type Duration, Layer } from "effect"
import { IoRedis, MemoryIdempotency, RedisIdempotency } from "effect-saga"
import { idempotencyContract } from "../contract/IdempotencyContract.ts"
import { idempotencyEnds } from "../contract/IdempotencyEnds.ts"
import { servers } from "../servers/inject.ts"

const memory = (timeToLive: Duration.Input) => MemoryIdempotency.layerWith({ timeToLive })
idempotencyContract("memory", memory)
idempotencyEnds("memory", memory("24 hours"))

const { redis } = servers()

describe.skipIf(redis === null)("real Redis", () => {
  const url = redis ?? ""
  for (const [name, client, cluster] of [
    ["ioredis", IoRedis.layerUrl(url), false],
    ["node-redis", NodeRedis.layer({ url }), false],
    ["ioredis, part by part as on a cluster", IoRedis.layerUrl(url), true]
  ] as const) {
    const layer = (timeToLive: Duration.Input) =>
      RedisIdempotency.layerWith({ timeToLive, cluster }).pipe(Layer.provide(client))
    idempotencyContract(name, layer)
    idempotencyEnds(name, layer("24 hours"))
  }
})
