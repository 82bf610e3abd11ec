/** Every contract over every layer: in memory, embedded, and on the real servers by both Redis clients. */
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { describe } from "@effect/vitest"
import { Layer, Redacted } from "effect"
import { IoRedis } from "effect-saga"
import * as ComposedGuard from "../../src/layers/guard/ComposedGuard.ts"
import * as MemoryDeadLetterQueue from "../../src/layers/memory/MemoryDeadLetterQueue.ts"
import * as MemoryIdempotency from "../../src/layers/memory/MemoryIdempotency.ts"
import * as MemoryLock from "../../src/layers/memory/MemoryLock.ts"
import * as RedisIdempotency from "../../src/layers/redis/RedisIdempotency.ts"
import * as RedisLock from "../../src/layers/redis/RedisLock.ts"
import * as SagaGuardRedis from "../../src/layers/redis/SagaGuardRedis.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import * as SqlDeadLetterQueue from "../../src/layers/sql/SqlDeadLetterQueue.ts"
import { deadLetterQueueContract } from "../contract/DeadLetterQueueContract.ts"
import { distributedLockContract } from "../contract/DistributedLockContract.ts"
import { sagaGuardContract } from "../contract/SagaGuardContract.ts"
import { servers } from "../servers/inject.ts"

distributedLockContract("memory", MemoryLock.layerWith({ wait: "300 millis" }))
sagaGuardContract(
  "composed, memory",
  ComposedGuard.layer.pipe(Layer.provide([MemoryLock.layer, MemoryIdempotency.layer]))
)
deadLetterQueueContract("memory", MemoryDeadLetterQueue.layer)
deadLetterQueueContract("PGlite", SqlDeadLetterQueue.layer.pipe(Layer.provide(PgliteClient.layer)))

const { postgres, redis } = servers()

describe.skipIf(redis === null)("real Redis", () => {
  for (const [name, client] of [
    ["ioredis", IoRedis.layerUrl(redis ?? "")],
    ["node-redis", NodeRedis.layer({ url: redis ?? "" })]
  ] as const) {
    distributedLockContract(name, RedisLock.layerWith({ wait: "300 millis" }).pipe(Layer.provide(client)))
    sagaGuardContract(
      `composed, ${name}`,
      ComposedGuard.layer.pipe(Layer.provide([RedisLock.layer, RedisIdempotency.layer]), Layer.provide(client))
    )
    sagaGuardContract(`fused, ${name}`, SagaGuardRedis.layer.pipe(Layer.provide(client)))
    sagaGuardContract(
      `fused on a cluster, ${name}`,
      SagaGuardRedis.layerWith({ cluster: true }).pipe(Layer.provide(client))
    )
  }
  const prefixed = IoRedis.layerUrl(redis ?? "", { keyPrefix: "prefixed:" })
  sagaGuardContract("fused, ioredis with a prefix", SagaGuardRedis.layer.pipe(Layer.provide(prefixed)))
})

describe.skipIf(postgres === null)("real PostgreSQL", () => {
  deadLetterQueueContract(
    "PostgreSQL",
    SqlDeadLetterQueue.layer.pipe(Layer.provide(PgClient.layer({ url: Redacted.make(postgres ?? "") })), Layer.orDie)
  )
})
