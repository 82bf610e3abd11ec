/**
 * PostgreSQL by `@effect/sql-pg`, its pool sized by the environment.
 *
 * **Details**
 *
 * Sagas write, and each write waits for its own flush to disk: PostgreSQL flushes those of several connections together,
 * those of one connection one after another. So each connection carries one statement at a time unless `pipelining` is
 * asked for, which makes reads twice as fast and durable writes a third slower (docs/performance.md).
 */
import type { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer, type Redacted } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { poolSize } from "../PoolSize.ts"

export interface Options {
  /** Such as `postgresql://user:password@host:5432/database`. */
  readonly url: Redacted.Redacted
  /** Most connections at once; 10 unless said. */
  readonly poolSize?: number
  /** Whether statements of several fibers share a connection; false unless said. */
  readonly pipelining?: boolean
}

export const layer = ({
  pipelining = false,
  poolSize = 10,
  url
}: Options): Layer.Layer<PgClient.PgClient | SqlClient, SqlError> =>
  Layer.unwrap(
    Effect.map(
      Effect.orDie(
        Effect.tryPromise({
          try: () => import("@effect/sql-pg"),
          catch: () => new Error("the package @effect/sql-pg is missing: npm install @effect/sql-pg")
        })
      ),
      ({ PgClient }) => PgClient.layer({ url, maxConnections: poolSize, multiplex: pipelining })
    )
  )

/** From `DATABASE_URL`, `POSTGRES_POOL_SIZE` (10) and `POSTGRES_PIPELINING` (false). */
export const layerConfig: Layer.Layer<PgClient.PgClient | SqlClient, Config.ConfigError | SqlError> = Layer.unwrap(
  Effect.map(
    Config.all({
      url: Config.Redacted("DATABASE_URL"),
      poolSize: poolSize("POSTGRES_POOL_SIZE", 10),
      pipelining: Config.Boolean("POSTGRES_PIPELINING").pipe(Config.withDefault(false))
    }),
    layer
  )
)
