/** PGlite as a SqlClient: what sagas and the migrator ask of one. */
import { assert, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import * as PgliteClient from "effect-saga/pglite"

it.layer(PgliteClient.layer, { timeout: 60_000 })("PGlite", (test) => {
  const table = Effect.flatMap(SqlClient, (sql) => sql`CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY, name text)`)
  const names = Effect.flatMap(SqlClient, (sql) =>
    Effect.map(sql<{ name: string }>`SELECT name FROM t ORDER BY id`, (rows) => rows.map(({ name }) => name))
  )

  test.effect("commits a transaction that succeeds, and takes back one that fails", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient
      yield* table
      yield* sql.withTransaction(
        sql`INSERT INTO t ${sql.insert([
          { id: 1, name: "kept" },
          { id: 2, name: "too" }
        ])}`
      )
      yield* Effect.flip(sql.withTransaction(Effect.andThen(sql`INSERT INTO t VALUES (3, 'gone')`, Effect.fail("no"))))
      assert.deepStrictEqual(yield* names, ["kept", "too"])
    })
  )

  test.effect("takes back only the inner of nested transactions", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient
      yield* table
      const inner = sql.withTransaction(Effect.andThen(sql`INSERT INTO t VALUES (11, 'inner')`, Effect.fail("no")))
      yield* sql.withTransaction(Effect.andThen(sql`INSERT INTO t VALUES (10, 'outer')`, Effect.ignore(inner)))
      const found = yield* names
      assert.include(found, "outer")
      assert.notInclude(found, "inner")
    })
  )

  test.effect("tells which constraint a statement broke, and of a statement that is wrong", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient
      yield* table
      yield* Effect.ignore(sql`INSERT INTO t VALUES (20, 'first')`)
      const twice = yield* Effect.flip(sql`INSERT INTO t VALUES (20, 'second')`)
      assert.strictEqual(twice.reason._tag, "UniqueViolation")
      const wrong = yield* Effect.flip(sql`SELEKT 1`)
      assert.strictEqual(wrong.reason._tag, "SqlSyntaxError")
    })
  )

  test.effect("gives rows as values, unprepared, and as a stream", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient
      assert.deepStrictEqual(yield* sql`SELECT 1 AS a, 2 AS b`.values, [[1, 2]])
      assert.deepStrictEqual(yield* sql`SELECT 1 AS a`.raw.pipe(Effect.map((raw) => typeof raw)), "object")
      assert.deepStrictEqual(yield* sql`SELECT 1 AS a`.unprepared, [{ a: 1 }])
      const streamed = yield* Effect.exit(Stream.runCollect(sql`SELECT 1 AS a`.stream))
      assert.isDefined(streamed._tag)
    })
  )

  test.effect("lets transactions of many fibers wait for each other", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE IF NOT EXISTS counter AS SELECT 0 AS n`
      const add = sql.withTransaction(
        Effect.gen(function* () {
          const [row] = yield* sql<{ n: number }>`SELECT n FROM counter`
          yield* Effect.yieldNow
          yield* sql`UPDATE counter SET n = ${(row?.n ?? 0) + 1}`
        })
      )
      yield* Effect.all(
        Array.from({ length: 10 }, () => add),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(yield* sql`SELECT n FROM counter`, [{ n: 10 }])
    })
  )
})
