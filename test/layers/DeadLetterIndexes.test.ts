/** The dead letters of a year: each query of the queue finds what it wants by the index meant for it. */
import { PgClient } from "@effect/sql-pg"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { Statement } from "effect/sql"
import { DeadLetterQueue } from "effect-saga"
import pg from "pg"
import * as SqlDeadLetterQueue from "../../src/layers/sql/SqlDeadLetterQueue.ts"
import { servers } from "../servers/inject.ts"

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

/** 20,000 entries of 200 sagas, 5 databases and 5,000 resources over a year, of which 200 wait. */
const fill = `
  INSERT INTO dead_letter_queue (
    id, kind, status, database, operation, saga, saga_version, saga_id, step, call, resources, fence,
    error_type, error_message, created_at, due_at
  )
  SELECT
    gen_random_uuid(), 'compensation',
    CASE WHEN n % 100 = 0 THEN 'pending' WHEN n % 10 = 1 THEN 'discarded' ELSE 'resolved' END,
    (ARRAY['postgres', 'neo4j', 'qdrant', 'redis', 'graphiti'])[1 + n % 5], 'rollback_delete',
    'Saga ' || n / 7 % 200, 1, 'filled ' || n, 'step', 0, ARRAY['resource ' || n / 3 % 5000], n,
    'Refused', 'no', now() - n * interval '25 minutes', now() - n * interval '25 minutes'
  FROM generate_series(1, 20000) AS n`

interface Node {
  readonly "Node Type": string
  readonly "Index Name"?: string
  readonly Plans?: ReadonlyArray<Node>
}

const flatten = (node: Node): ReadonlyArray<Node> => [node, ...(node.Plans ?? []).flatMap(flatten)]

/** The plan of a query as the queue sends it, its parameters in place. */
const explain = async (text: string, values: ReadonlyArray<unknown>) => {
  const rows = await withClient(urlOf(database), async (client) => {
    const explained = await client.query<{ "QUERY PLAN": ReadonlyArray<{ readonly Plan: Node }> }>(
      `EXPLAIN (FORMAT JSON) ${text}`,
      [...values]
    )
    return explained.rows
  })
  const nodes = rows.flatMap((row) => row["QUERY PLAN"].flatMap((plan) => flatten(plan.Plan)))
  return {
    indexes: nodes.flatMap((node) => node["Index Name"] ?? []),
    scans: nodes.filter((node) => node["Node Type"] === "Seq Scan").length
  }
}

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
    /** What the queue sends to the table while it does this, with its plans. */
    const plansOf = Effect.fnUntraced(function* <A, E>(
      use: (queue: DeadLetterQueue["Service"]) => Effect.Effect<A, E>
    ) {
      const sent: Array<readonly [string, ReadonlyArray<unknown>]> = []
      yield* Effect.exit(use(yield* DeadLetterQueue)).pipe(
        Effect.provideService(Statement.CurrentTransformer, (statement) => {
          const [text, values] = statement.compile()
          if (/\bdead_letter_queue\b/.test(text)) sent.push([text, values])
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
          assert.isAbove(plans.length, 0)
          for (const plan of plans) {
            assert.strictEqual(plan.scans, 0)
            assert.include(indexes, plan.indexes[0])
          }
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

    const _oldest = Effect.map(
      Effect.flatMap(DeadLetterQueue, (queue) => queue.list({ limit: 1 })),
      (letters) => letters[0]?.id ?? ""
    )

    finds("list the oldest", ["dlq_by_age"], (queue) => queue.list())
  })
})
