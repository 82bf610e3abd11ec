/**
 * PostgreSQL inside the process (PGlite), as Effect's `SqlClient`: the embedded default for demos and tests.
 *
 * **Gotchas**
 *
 * It is one session: transactions wait for each other, and nothing about contention can be learnt from it.
 */
import type { PGlite } from "@electric-sql/pglite"
import { Effect, Layer, Scope, Semaphore, Stream } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type * as SqlConnection from "effect/sql/SqlConnection"
import * as SqlError from "effect/sql/SqlError"

const classify = (cause: unknown): SqlError.SqlError => {
  const message = cause instanceof Error ? cause.message : "PGlite failed"
  const code = textOf(cause, "code")
  if (code === "23505") {
    const constraint = textOf(cause, "constraint") ?? "unknown"
    return new SqlError.SqlError({ reason: new SqlError.UniqueViolation({ cause, message, constraint }) })
  }
  if (code?.startsWith("23")) return new SqlError.SqlError({ reason: new SqlError.ConstraintError({ cause, message }) })
  if (code?.startsWith("42")) return new SqlError.SqlError({ reason: new SqlError.SqlSyntaxError({ cause, message }) })
  return new SqlError.SqlError({ reason: new SqlError.UnknownError({ cause, message }) })
}

const textOf = (value: unknown, key: string): string | undefined => {
  if (typeof value !== "object" || value === null || !(key in value)) return undefined
  const found: unknown = Reflect.get(value, key)
  return typeof found === "string" ? found : undefined
}

const missing = (name: string) => () => new Error(`the package ${name} is missing: npm install ${name}`)

const connectionOf = (pg: PGlite): SqlConnection.Connection => {
  const query = (sql: string, params: ReadonlyArray<unknown>, rowMode?: "array") =>
    Effect.tryPromise({
      try: () => pg.query<Record<string, unknown>>(sql, [...params], rowMode ? { rowMode } : {}),
      catch: classify
    })
  const execute: SqlConnection.Connection["execute"] = (sql, params, transform) =>
    Effect.map(query(sql, params), ({ rows }) => (transform ? transform(rows) : rows))
  const values: SqlConnection.Connection["executeValues"] = (sql, params) =>
    Effect.map(query(sql, params, "array"), ({ rows }) => rows.map((row) => Object.values(row)))
  return {
    execute,
    executeUnprepared: execute,
    executeRaw: query,
    executeValues: values,
    executeValuesUnprepared: values,
    executeStream: (sql, params, transform) => Stream.fromIterableEffect(execute(sql, params, transform))
  }
}

const make = Effect.fnUntraced(function* (dataDir: string | undefined) {
  const pglite = yield* Effect.orDie(
    Effect.tryPromise({ try: () => import("@electric-sql/pglite"), catch: missing("@electric-sql/pglite") })
  )
  const { PgClient } = yield* Effect.orDie(
    Effect.tryPromise({ try: () => import("@effect/sql-pg"), catch: missing("@effect/sql-pg") })
  )
  const pg = yield* Effect.acquireRelease(
    Effect.promise(() => pglite.PGlite.create(dataDir ?? "memory://")),
    (opened) => Effect.promise(() => opened.close())
  )
  const connection = connectionOf(pg)
  const session = yield* Semaphore.make(1)
  return yield* SqlClient.make({
    compiler: PgClient.makeCompiler(),
    driver: "pglite",
    acquirer: session.withPermits(1)(Effect.succeed(connection)),
    transactionAcquirer: Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const scope = yield* Scope.Scope
        yield* restore(session.take(1))
        yield* Scope.addFinalizer(scope, session.release(1))
        return connection
      })
    ),
    spanAttributes: [["db.system.name", "postgresql"]]
  })
})

/** In memory, or in a folder that outlives the process. */
export const layerWith = (options: { readonly dataDir?: string }): Layer.Layer<SqlClient.SqlClient> =>
  Layer.effect(SqlClient.SqlClient, make(options.dataDir)).pipe(Layer.provide(Reactivity.layer))

export const layer: Layer.Layer<SqlClient.SqlClient> = layerWith({})
