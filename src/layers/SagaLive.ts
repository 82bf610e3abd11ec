/** Everything real: lock, idempotency, guard and breakers on Redis, dead letters on SQL. */
import { Config, Effect, Layer } from "effect"
import type { Redis } from "effect/persistence/Redis"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Toggles } from "../services/Toggles.ts"
import * as Breakers from "./breakers/EffectBreakers.ts"
import * as MemoryDeadLetterQueue from "./memory/MemoryDeadLetterQueue.ts"
import * as RedisIdempotency from "./redis/RedisIdempotency.ts"
import * as RedisLock from "./redis/RedisLock.ts"
import { type Everything, guardFor, settingsFor } from "./SagaMemory.ts"
import * as SqlDeadLetterQueue from "./sql/SqlDeadLetterQueue.ts"

const live = (toggles: Toggles, lock: RedisLock.RedisLockOptions, records: RedisIdempotency.RedisIdempotencyOptions) =>
  Layer.mergeAll(
    guardFor(toggles).pipe(
      Layer.provideMerge(
        Layer.merge(
          toggles.locking === false ? RedisLock.layerFenceOnly : RedisLock.layerWith(lock),
          RedisIdempotency.layerWith(records)
        )
      )
    ),
    toggles.breakers === false ? Breakers.layerOff : Breakers.layerMemory(),
    toggles.deadLetters === false ? MemoryDeadLetterQueue.layerOff : SqlDeadLetterQueue.layer,
    settingsFor(toggles)
  )

export const layerWith = (toggles: Toggles): Layer.Layer<Everything, never, Redis | SqlClient> => live(toggles, {}, {})

export const layer: Layer.Layer<Everything, never, Redis | SqlClient> = layerWith({})

const settings = Config.all({
  locking: Config.Boolean("LOCKING").pipe(Config.withDefault(true)),
  idempotency: Config.Boolean("IDEMPOTENCY").pipe(Config.withDefault(true)),
  breakers: Config.Boolean("BREAKERS").pipe(Config.withDefault(true)),
  retries: Config.Boolean("RETRIES").pipe(Config.withDefault(true)),
  deadLetters: Config.Boolean("DEAD_LETTERS").pipe(Config.withDefault(true)),
  lease: Config.Duration("LOCK_LEASE").pipe(Config.withDefault("30 seconds")),
  wait: Config.Duration("LOCK_WAIT").pipe(Config.withDefault("5 seconds")),
  timeToLive: Config.Duration("IDEMPOTENCY_TTL").pipe(Config.withDefault("24 hours"))
}).pipe(Config.nested("SAGA"))

/**
 * From the environment: the toggles `SAGA_LOCKING`, `SAGA_IDEMPOTENCY`, `SAGA_BREAKERS`, `SAGA_RETRIES`,
 * `SAGA_DEAD_LETTERS`, and the durations `SAGA_LOCK_LEASE`, `SAGA_LOCK_WAIT`, `SAGA_IDEMPOTENCY_TTL`.
 */
export const layerConfig: Layer.Layer<Everything, Config.ConfigError, Redis | SqlClient> = Layer.unwrap(
  Effect.map(settings, ({ lease, timeToLive, wait, ...toggles }) => live(toggles, { lease, wait }, { timeToLive }))
)
