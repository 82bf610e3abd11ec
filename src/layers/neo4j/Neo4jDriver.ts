/** `Neo4j` over neo4j-driver 6: a pooled session for each statement, and no retries but the saga's own. */
import { Config, Effect, Layer, Option, Redacted } from "effect"
import { Neo4j, Neo4jError } from "../../services/Neo4j.ts"
import { poolSize } from "../PoolSize.ts"

export interface Options {
  /** Such as `bolt://127.0.0.1:7687` or `neo4j://cluster`. */
  readonly url: string
  readonly user?: string
  readonly password?: Redacted.Redacted
  readonly database?: string
  /** Most connections at once; 100 unless said. */
  readonly poolSize?: number
}

const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"
    ? cause.code
    : "unknown"

const classify = (cause: unknown): Neo4jError => {
  const code = codeOf(cause)
  const answered = code.startsWith("Neo.")
  return new Neo4jError({
    code,
    transient: !answered || code.startsWith("Neo.TransientError."),
    maybeApplied: !answered,
    cause
  })
}

const make = Effect.fnUntraced(function* (options: Options) {
  const { default: neo4j } = yield* Effect.orDie(
    Effect.tryPromise({
      try: () => import("neo4j-driver"),
      catch: () => new Error("the package neo4j-driver is missing: npm install neo4j-driver")
    })
  )
  const auth =
    options.user === undefined
      ? undefined
      : neo4j.auth.basic(options.user, options.password === undefined ? "" : Redacted.value(options.password))
  const driver = yield* Effect.acquireRelease(
    Effect.sync(() =>
      neo4j.driver(options.url, auth, {
        disableLosslessIntegers: true,
        maxConnectionPoolSize: options.poolSize ?? 100,
        connectionAcquisitionTimeout: 5000,
        connectionTimeout: 5000
      })
    ),
    (one) => Effect.promise(() => one.close())
  )
  const integers = (parameters: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(
      Object.entries(parameters).map(([key, value]) => [
        key,
        Number.isSafeInteger(value) ? neo4j.int(Number(value)) : value
      ])
    )
  return Neo4j.of({
    run: (statement, parameters = {}) =>
      Effect.tryPromise({
        try: async () => {
          const session = driver.session(options.database === undefined ? {} : { database: options.database })
          try {
            const { records } = await session.run(statement, integers(parameters))
            return records.map((record) => record.toObject())
          } finally {
            await session.close()
          }
        },
        catch: classify
      })
  })
})

export const layer = (options: Options): Layer.Layer<Neo4j> => Layer.effect(Neo4j, make(options))

/** From `NEO4J_URL`, `NEO4J_USER` and `NEO4J_PASSWORD` if the server asks for them, and `NEO4J_POOL_SIZE` (100). */
export const layerConfig: Layer.Layer<Neo4j, Config.ConfigError> = Layer.unwrap(
  Effect.map(
    Config.all({
      url: Config.String("NEO4J_URL"),
      poolSize: poolSize("NEO4J_POOL_SIZE", 100),
      user: Config.option(Config.String("NEO4J_USER")),
      password: Config.option(Config.Redacted("NEO4J_PASSWORD"))
    }),
    ({ password, poolSize, url, user }) =>
      layer({
        url,
        poolSize,
        ...(Option.isSome(user) ? { user: user.value } : {}),
        ...(Option.isSome(password) ? { password: password.value } : {})
      })
  )
)
