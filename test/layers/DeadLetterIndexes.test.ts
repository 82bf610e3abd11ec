/** The dead letters of a year: each query of the queue finds what it wants by the index meant for it. */
import { PgClient } from "@effect/sql-pg"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Redacted } from "effect"
import { Statement } from "effect/sql"
import { type DeadLetterFilter, DeadLetterQueue } from "effect-saga"
import pg from "pg"
import * as SqlDeadLetterQueue from "../../src/layers/sql/SqlDeadLetterQueue.ts"
import { servers } from "../servers/inject.ts"
import { fillLetters } from "./FilledLetters.ts"

const { postgres } = servers()
const database = `dead_letters_${process.pid}`

const urlOf = (name: string) => {
  const url = new URL(postgres ?? "postgres://none")
  url.pathname = `/${name}`
  return url.href
}

const withClient = async <A>(url: string, use: (client: pg.Client) => Promise<A>): Promise<A> => {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

/** 20,000 entries of 200 sagas, 4 databases (one seldom fails) and 5,000 resources over a year, of which 200 wait. */
const age = "now() - n * interval '25 minutes'"
const fill = fillLetters(1, 20_000, {
  status: "CASE WHEN n % 100 = 0 THEN 'pending' WHEN n % 10 = 1 THEN 'discarded' ELSE 'resolved' END",
  database: "CASE WHEN n % 61 = 0 THEN 'qdrant' ELSE (ARRAY['postgres', 'neo4j', 'redis'])[1 + n % 3] END",
  saga: "'Saga ' || n / 7 % 200",
  resource: "'resource ' || n / 3 % 5000",
  createdAt: age,
  dueAt: age,
  resolvedAt: `CASE WHEN n % 100 = 0 THEN NULL ELSE ${age} END`
})

interface PlanNode {
  readonly "Node Type": string
  readonly "Index Name"?: string
  readonly "Relation Name"?: string
  readonly Plans?: ReadonlyArray<PlanNode>
}

interface Explained {
  readonly "Query Text": string
  readonly Plan: PlanNode
}

const flatten = (node: PlanNode): ReadonlyArray<PlanNode> => [node, ...(node.Plans ?? []).flatMap(flatten)]

/** Runs a statement and takes it back; yields the plans of all that ran, also inside functions. */
const explain = (text: string, values: ReadonlyArray<unknown>) =>
  withClient(urlOf(database), async (client) => {
    const explained: Array<Explained> = []
    client.on("notice", ({ message = "" }) => {
      const at = message.indexOf("plan:")
      if (at > 0) explained.push(JSON.parse(message.slice(at + 5)))
    })
    await client.query("LOAD 'auto_explain'")
    await client.query("SET auto_explain.log_min_duration = 0")
    await client.query("SET auto_explain.log_nested_statements = on")
    await client.query("SET auto_explain.log_format = json")
    await client.query("SET auto_explain.log_level = notice")
    await client.query("BEGIN")
    await client.query(text, [...values])
    await client.query("ROLLBACK")
    const nodes = explained.flatMap((one) => flatten(one.Plan))
    return {
      indexes: nodes.flatMap((node) => node["Index Name"] ?? []),
      scanned: nodes.flatMap((node) => (node["Node Type"] === "Seq Scan" ? (node["Relation Name"] ?? "") : []))
    }
  })

describe.skipIf(postgres === null)("the indexes of the dead letters", () => {
  const layer = SqlDeadLetterQueue.layer.pipe(
    Layer.provide(PgClient.layer({ url: Redacted.make(urlOf(database)) })),
    Layer.orDie
  )

  beforeAll(async () => {
    await withClient(postgres ?? "", (client) => client.query(`CREATE DATABASE ${database}`))
    return () => withClient(postgres ?? "", (client) => client.query(`DROP DATABASE ${database} WITH (FORCE)`))
  })

  it.layer(layer, { excludeTestServices: true })((test) => {
    /** The plans of what the queue sends while it does this. */
    const plansOf = Effect.fnUntraced(function* <A, E>(
      use: (queue: DeadLetterQueue["Service"]) => Effect.Effect<A, E>
    ) {
      const sent: Array<readonly [string, ReadonlyArray<unknown>]> = []
      yield* Effect.exit(use(yield* DeadLetterQueue)).pipe(
        Effect.provideService(Statement.CurrentTransformer, (statement) => {
          sent.push(statement.compile())
          return Effect.succeed(statement)
        })
      )
      return yield* Effect.forEach(sent, ([text, values]) => Effect.promise(() => explain(text, values)))
    })

    const finds = <A, E>(
      what: string,
      indexes: ReadonlyArray<string>,
      use: (queue: DeadLetterQueue["Service"]) => Effect.Effect<A, E>
    ) =>
      test.effect(`${what}, by ${indexes.join(" or ")}`, () =>
        Effect.gen(function* () {
          const plans = yield* plansOf(use)
          const used = plans.flatMap((plan) => plan.indexes)
          assert.deepStrictEqual(
            plans.flatMap((plan) => plan.scanned),
            []
          )
          assert.isTrue(
            indexes.some((index) => used.includes(index)),
            `it used ${used.join(", ")}`
          )
        })
      )

    test.effect("are those of a table with 20,000 entries", () =>
      Effect.promise(() =>
        withClient(urlOf(database), async (client) => {
          assert.strictEqual((await client.query(fill)).rowCount, 20_000)
          await client.query("ANALYZE dead_letter_queue")
        })
      )
    )

    /** The second page: it begins after the first entry. */
    const after = (filter: DeadLetterFilter) => (queue: DeadLetterQueue["Service"]) =>
      Effect.flatMap(queue.list({ ...filter, limit: 1 }), (letters) =>
        queue.list({ ...filter, after: letters[0]?.id ?? "" })
      )
    const sagas = Array.from({ length: 200 }, (_, n) => `Saga ${n}`)
    const now = DateTime.makeUnsafe("2030-01-01T00:00:00Z")

    finds("list the oldest", ["dlq_by_age"], (queue) => queue.list())
    finds("list what waits", ["dlq_waiting", "dlq_by_status"], (queue) => queue.list({ status: "pending" }))
    finds("list what was discarded", ["dlq_by_status"], (queue) => queue.list({ status: "discarded" }))
    finds("list a saga", ["dlq_by_saga"], (queue) => queue.list({ saga: "Saga 7" }))
    finds("list a database", ["dlq_by_database"], (queue) => queue.list({ database: "qdrant" }))
    finds("list by all filters", ["dlq_by_saga"], (queue) =>
      queue.list({ status: "resolved", saga: "Saga 7", database: "qdrant" })
    )
    finds("list the next page", ["dlq_by_age"], after({}))
    finds("list a status' next page", ["dlq_by_status"], after({ status: "discarded" }))
    finds("list a saga's next page", ["dlq_by_saga"], after({ saga: "Saga 7" }))
    finds("list a database's next page", ["dlq_by_database"], after({ database: "qdrant" }))
    finds("count what waits", ["dlq_waiting"], (queue) => queue.size)
    finds("get one", ["dead_letter_queue_pkey"], (queue) => queue.get("00000000-0000-8000-8000-000000000000"))
    finds("claim what is due", ["dlq_waiting"], (queue) => queue.claimDue({ sagas, limit: 10, until: now }))
    finds("close one", ["dead_letter_queue_pkey"], (queue) =>
      Effect.flatMap(queue.list({ status: "pending", limit: 1 }), (letters) =>
        queue.resolve(letters[0]?.id ?? "", "ada", "done")
      )
    )
    finds("release one", ["dead_letter_queue_pkey"], (queue) =>
      Effect.flatMap(queue.list({ status: "pending", limit: 1 }), ([letter]) =>
        letter === undefined ? Effect.void : queue.release(letter, { dueAt: now, counts: true })
      )
    )

    test.effect("are used as well when most of the table waits", () =>
      Effect.promise(() =>
        withClient(urlOf(database), async (client) => {
          await client.query("UPDATE dead_letter_queue SET status = 'pending', resolved_at = NULL")
          await client.query("VACUUM ANALYZE dead_letter_queue")
        })
      )
    )
    finds("claim what is due and has nothing newer", ["dlq_waiting_by_resource"], (queue) =>
      queue.claimDue({ sagas, limit: 10, until: now })
    )
    finds("claim one that has nothing newer", ["dlq_waiting_by_resource"], (queue) =>
      Effect.flatMap(queue.list({ limit: 1 }), (letters) => queue.claim(letters[0]?.id ?? "", now))
    )
  })
})
