/** The counts of dead letters by status: right in every snapshot, without counting them. */

import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import pg from "pg"
import { migrate } from "../../src/layers/sql/Migrations.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import { servers } from "../servers/inject.ts"
import { fillLetters } from "./FilledLetters.ts"

const { postgres } = servers()
const database = `dead_letter_counts_${process.pid}`
const url = new URL(postgres ?? "postgres://none")
url.pathname = `/${database}`
const ownDatabase = Effect.promise(async () => {
  const client = new pg.Client(postgres ?? "")
  await client.connect()
  await client.query(`CREATE DATABASE ${database}`)
  await client.end()
})

const add = (from: number, to: number) =>
  Effect.flatMap(SqlClient, (sql) =>
    sql.unsafe(
      fillLetters(from, to, {
        status: "'pending'",
        database: "'postgres'",
        saga: "'Saga'",
        resource: "'resource ' || n",
        createdAt: "now()",
        dueAt: "now()",
        resolvedAt: "NULL"
      })
    )
  )
const said = Effect.flatMap(
  SqlClient,
  (sql) => sql<{ status: string; n: number }>`SELECT status, entries::int AS n FROM dlq_get_stats()`
)
const counted = Effect.flatMap(
  SqlClient,
  (sql) =>
    sql<{ status: string; n: number }>`SELECT status, count(*)::int AS n FROM dead_letter_queue GROUP BY 1 ORDER BY 1`
)
const agree = Effect.gen(function* () {
  assert.deepStrictEqual(yield* said, yield* counted)
})

for (const [name, layer, available] of [
  ["PGlite", PgliteClient.layer, true],
  [
    "PostgreSQL",
    Layer.unwrap(Effect.as(ownDatabase, PgClient.layer({ url: Redacted.make(url.href), maxConnections: 8 }))),
    postgres !== null
  ]
] as const) {
  describe.skipIf(!available)(`the counts of dead letters: ${name}`, () => {
    it.layer(Layer.orDie(layer), { excludeTestServices: true, timeout: 60_000 })((test) => {
      test.effect("follow what is added, changed, removed and emptied", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          yield* migrate
          yield* agree
          yield* add(1, 30)
          yield* agree
          yield* sql`UPDATE dead_letter_queue SET status = 'retrying' WHERE fence <= 10`
          yield* agree
          yield* sql`UPDATE dead_letter_queue SET status = 'resolved', resolved_at = now() WHERE fence <= 5`
          yield* sql`UPDATE dead_letter_queue SET priority = 'high'`
          yield* agree
          yield* sql`DELETE FROM dead_letter_queue WHERE status = 'resolved'`
          yield* agree
          assert.strictEqual((yield* said).find(({ status }) => status === "pending")?.n, 20)
          yield* sql`TRUNCATE dead_letter_queue`
          assert.deepStrictEqual(yield* said, [])
        })
      )

      test.effect("take nothing of a change that is rolled back", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          yield* migrate
          yield* add(101, 103)
          yield* Effect.exit(sql.withTransaction(Effect.andThen(add(104, 120), Effect.fail("no"))))
          yield* agree
        })
      )

      test.effect("are right while many write and fold at once, and there are never many to add up", () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          yield* migrate
          yield* Effect.forEach(
            Array.from({ length: 200 }, (_, n) => n),
            (n) =>
              Effect.gen(function* () {
                yield* add(1000 + n * 3, 1002 + n * 3)
                yield* sql`UPDATE dead_letter_queue SET status = 'discarded' WHERE fence = ${1000 + n * 3}`
                if (n % 10 === 0) yield* sql`SELECT dlq_fold_counts()`
              }),
            { concurrency: 8, discard: true }
          )
          yield* agree
          yield* sql`SELECT dlq_fold_counts()`
          yield* agree
          const rows = yield* sql<{ n: number }>`SELECT count(*)::int AS n FROM dead_letter_counts`
          assert.isAtMost(rows[0]?.n ?? 99, 4)
        })
      )
    })
  })
}
