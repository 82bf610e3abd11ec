/**
 * Everything real: lock, idempotency, guard and breakers on Redis, dead letters on SQL, with their spools.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { IoRedis, Saga, SagaLive } from "effect-saga"
 * import * as PgliteClient from "effect-saga/pglite"
 *
 * const greet = Saga.make("Greet", {
 *   payload: Schema.String,
 *   success: Schema.String,
 *   resource: (name) => `greeting of ${name}`,
 *   steps: [],
 *   run: (name) => Effect.succeed(`hello ${name}`)
 * })
 * // REDIS_URL says which Redis. Any SqlClient will do, such as PostgresClient.layerConfig.
 * const live = SagaLive.layerWith({ journal: "sql", lease: "10 seconds" }).pipe(
 *   Layer.provide([IoRedis.layerConfig, PgliteClient.layer])
 * )
 * console.log(await Effect.runPromise(Effect.provide(greet.execute("you"), live))) // hello you
 * ```
 */
import { Config, type Duration, Effect, Layer } from "effect"
import { Redis } from "effect/persistence/Redis"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Toggles } from "../services/Toggles.ts"
import * as Breakers from "./breakers/EffectBreakers.ts"
import * as MemoryDeadLetterQueue from "./memory/MemoryDeadLetterQueue.ts"
import * as RedisIdempotency from "./redis/RedisIdempotency.ts"
import * as RedisJournal from "./redis/RedisJournal.ts"
import * as RedisLock from "./redis/RedisLock.ts"
import * as SagaGuardRedis from "./redis/SagaGuardRedis.ts"
import { type Everything, guardFor, settingsFor } from "./SagaMemory.ts"
import { makeFileSpool } from "./spool/FileSpool.ts"
import { makeRedisSpool } from "./spool/RedisSpool.ts"
import * as SqlDeadLetterQueue from "./sql/SqlDeadLetterQueue.ts"
import * as SqlJournal from "./sql/SqlJournal.ts"

export interface Options extends Toggles {
  /** How long a lock's lease lives unless renewed; 30 seconds unless said. */
  readonly lease?: Duration.Input
  /** How long to wait for a lock; 5 seconds unless said. */
  readonly wait?: Duration.Input
  /** How long a recorded result lives; 24 hours unless said. */
  readonly timeToLive?: Duration.Input
  /** Where running sagas are written down, so that a crash can be recovered from; "none" unless said. */
  readonly journal?: "none" | "redis" | "sql"
  /** Where dead letters wait on disk while their table is down; `.effect-saga/spool` unless said. */
  readonly spoolFolder?: string
  /** Whether all processes share their breakers, by Redis; each has its own unless said. */
  readonly sharedBreakers?: boolean
}

const SPOOL_FOLDER = ".effect-saga/spool"

const deadLetters = ({ deadLetters = true, spoolFolder = SPOOL_FOLDER }: Options) =>
  deadLetters
    ? Layer.unwrap(
        Effect.map(Redis, (redis) =>
          SqlDeadLetterQueue.layerWith({ spools: [makeRedisSpool(redis), makeFileSpool(spoolFolder)] })
        )
      )
    : MemoryDeadLetterQueue.layerOff

const journal = ({ journal = "none" }: Options): Layer.Layer<never, never, Redis | SqlClient> =>
  journal === "sql" ? SqlJournal.layer : journal === "redis" ? RedisJournal.layer : Layer.empty

const breakers = ({ breakers = true, sharedBreakers = false }: Options) =>
  breakers ? (sharedBreakers ? Breakers.layerRedis() : Breakers.layerMemory()) : Breakers.layerOff

/** Without a lock there is nothing to fuse. */
const guard = (options: Options) =>
  options.locking === false
    ? guardFor(options).pipe(
        Layer.provideMerge(Layer.merge(RedisLock.layerFenceOnly, RedisIdempotency.layerWith(options)))
      )
    : Layer.mergeAll(
        SagaGuardRedis.layerWith({
          ...options,
          replay: options.idempotency !== false,
          journal: options.journal === "redis"
        }),
        RedisLock.layerWith(options),
        RedisIdempotency.layerWith(options)
      )

/** With these of the defaults changed. */
export const layerWith = (options: Options): Layer.Layer<Everything, never, Redis | SqlClient> =>
  Layer.mergeAll(guard(options), breakers(options), deadLetters(options), journal(options), settingsFor(options))

export const layer: Layer.Layer<Everything, never, Redis | SqlClient> = layerWith({})

const settings = Config.all({
  locking: Config.Boolean("LOCKING").pipe(Config.withDefault(true)),
  idempotency: Config.Boolean("IDEMPOTENCY").pipe(Config.withDefault(true)),
  breakers: Config.Boolean("BREAKERS").pipe(Config.withDefault(true)),
  retries: Config.Boolean("RETRIES").pipe(Config.withDefault(true)),
  deadLetters: Config.Boolean("DEAD_LETTERS").pipe(Config.withDefault(true)),
  lease: Config.Duration("LOCK_LEASE").pipe(Config.withDefault("30 seconds")),
  wait: Config.Duration("LOCK_WAIT").pipe(Config.withDefault("5 seconds")),
  timeToLive: Config.Duration("IDEMPOTENCY_TTL").pipe(Config.withDefault("24 hours")),
  journal: Config.Literals(["none", "redis", "sql"], "JOURNAL").pipe(Config.withDefault("none")),
  spoolFolder: Config.String("SPOOL_FOLDER").pipe(Config.withDefault(SPOOL_FOLDER)),
  sharedBreakers: Config.Boolean("SHARED_BREAKERS").pipe(Config.withDefault(false))
}).pipe(Config.nested("SAGA"))

/**
 * From the environment: the toggles `SAGA_LOCKING`, `SAGA_IDEMPOTENCY`, `SAGA_BREAKERS`, `SAGA_RETRIES`,
 * `SAGA_DEAD_LETTERS`; the durations `SAGA_LOCK_LEASE`, `SAGA_LOCK_WAIT`, `SAGA_IDEMPOTENCY_TTL`; `SAGA_JOURNAL` (none,
 * redis or sql), `SAGA_SPOOL_FOLDER` and `SAGA_SHARED_BREAKERS`.
 */
export const layerConfig: Layer.Layer<Everything, Config.ConfigError, Redis | SqlClient> = Layer.unwrap(
  Effect.map(settings, layerWith)
)
