/** Listing, counting and claiming among a million dead letters, and the plans by which PostgreSQL does it. */
import { Context, DateTime, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { DeadLetterQueue } from "../../src/index.ts"
import { fillLetters } from "../../test/layers/FilledLetters.ts"
import { type Found, live, medianOf, type Urls } from "./World.ts"

/** Of the oldest 5000 those that wait are due: 50 beside each number of letters, of which 23 are claimed. */
const DUE_OF = 5000

/** Of a year: one in a hundred waits, most of them for another day. */
const fill = (from: number, to: number) =>
  Effect.flatMap(SqlClient, (sql) =>
    sql.unsafe(
      fillLetters(from + 1, to, {
        status: "CASE WHEN n % 100 = 0 THEN 'pending' WHEN n % 10 = 1 THEN 'discarded' ELSE 'resolved' END",
        database: "(ARRAY['postgres', 'neo4j', 'redis', 'qdrant'])[1 + n % 4]",
        saga: "'Saga ' || n / 7 % 200",
        resource: "'resource ' || n",
        createdAt: "now() - n * interval '30 seconds'",
        dueAt: `CASE WHEN n > ${to - DUE_OF} THEN now() - interval '1 minute' ELSE now() + interval '1 day' END`,
        resolvedAt: "CASE WHEN n % 100 = 0 THEN NULL ELSE now() - n * interval '30 seconds' END"
      })
    )
  )

export const letters = (urls: Urls, quick: boolean): Effect.Effect<Found, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const context = yield* Layer.build(live(urls))
      const queue = Context.get(context, DeadLetterQueue)
      const sql = Context.get(context, SqlClient)
      const sizes = quick ? [5000, 10_000] : [10_000, 100_000, 1_000_000]
      const sagas = Array.from({ length: 200 }, (_, n) => `Saga ${n}`)
      const asked = {
        "list, first page": () => queue.list({ limit: 50 }),
        "list, waiting": () => queue.list({ status: "pending", limit: 50 }),
        stats: () => queue.stats,
        "claim due": () =>
          DateTime.now.pipe(
            Effect.flatMap((now) => queue.claimDue({ sagas, limit: 1, until: DateTime.add(now, { minutes: 1 }) })),
            Effect.tap((claimed) => (claimed.length === 1 ? Effect.void : Effect.die("nothing was due")))
          )
      }
      const points = new Map(Object.keys(asked).map((name) => [name, [] as (readonly [number, number])[]]))
      let filled = 0
      for (const size of sizes) {
        yield* Effect.provideContext(fill(filled, size), context)
        filled = size
        yield* sql`ANALYZE dead_letter_queue`
        for (const [name, ask] of Object.entries(asked)) {
          yield* medianOf(3, ask)
          points.get(name)?.push([size, yield* medianOf(20, ask)])
        }
      }
      const series = [...points].map(([name, all]) => ({ name, points: all }))
      const notes = series.map(
        ({ name, points: all }) =>
          `${name}: ${all.map(([size, ms]) => `${size} letters ${ms.toFixed(2)} ms`).join(", ")}`
      )
      return { chart: { title: "Dead letters", x: "letters in the table", y: "ms (median)", series }, notes }
    })
  )
