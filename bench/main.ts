/**
 * `npm run bench`: what a saga costs beside the same three writes made bare, in memory and on the real PostgreSQL and
 * Redis; what lock and idempotency add, and what each journal adds; and the document saga both ways. `-- --json` ends with
 * one JSON object, `--save` draws docs/pictures/bench.svg, `--rounds N` (20) makes it shorter or surer.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { Effect, References } from "effect"
import { ingestWays } from "./IngestWays.ts"
import { type BarGroup, bars } from "./Plot.ts"
import { type Measured, table } from "./Sample.ts"
import { added, inMemory, onServers } from "./Writes.ts"

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    save: { type: "boolean", default: false },
    rounds: { type: "string", default: "20" }
  }
})
const rounds = Number(values.rounds)

const inTurn = <A, E, R>(group: Effect.Effect<A, E, R>) =>
  Effect.tap(
    group,
    Effect.sync(() => process.stderr.write("\n"))
  )

const short = (ms: number) => (ms < 1 ? `${(ms * 1000).toPrecision(3)} µs` : `${ms.toFixed(2)} ms`)

const groupOf = (name: string, rows: ReadonlyArray<Measured>): BarGroup => ({
  name,
  bars: rows.map((row) => ({
    name: row.name,
    value: row.ratio,
    label: `${row.ratio.toFixed(2)} (${short(row.medianMs)})`
  }))
})

const draw = (groups: ReadonlyArray<BarGroup>) => {
  const folder = new URL("../docs/pictures/", import.meta.url)
  mkdirSync(folder, { recursive: true })
  const title = "One saga, as a ratio to the first of each group (median)"
  writeFileSync(new URL("bench.svg", folder), bars({ title, groups }))
}

const program = Effect.gen(function* () {
  const memory = yield* inTurn(inMemory(rounds))
  const servers = yield* inTurn(onServers(rounds))
  const ingest = yield* inTurn(ingestWays(rounds))
  const groups = [
    ["three writes in memory", memory],
    ["three writes on PostgreSQL (fsync on) and Redis", servers],
    [`the document saga on ${ingest.where}`, ingest.measured]
  ] as const
  console.log(groups.map(([name, rows]) => `${name}\n${table(rows)}`).join("\n\n"))
  const { journalRatio, lockAndIdempotencyMs, ...more } = added(memory, servers)
  console.log(
    `\nlock and idempotency add ${lockAndIdempotencyMs.toFixed(2)} ms (median), ${more.lockAndIdempotencyP99Ms.toFixed(2)} ms (p99)`
  )
  console.log(
    `journal per saga, as a ratio to none: Redis ${journalRatio.redis.toFixed(2)}, SQL ${journalRatio.sql.toFixed(2)}`
  )
  if (values.save) draw(groups.map(([name, rows]) => groupOf(name, rows)))
  if (values.json) console.log(JSON.stringify({ memory, servers, ingest, journalRatio, ...more }))
})

await Effect.runPromise(Effect.scoped(program).pipe(Effect.provideService(References.MinimumLogLevel, "Fatal")))
