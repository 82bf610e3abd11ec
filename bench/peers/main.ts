/**
 * `npm run bench:peers`: our sagas beside other systems and the physical limit, on the same three writes, in one
 * interleaved run of the peer benchmark in the folder `PEERS`.
 *
 * `-- --rounds N` (25), `--only a,b`, `--quick` (one round), `--off-rounds N` and `--count yes` as the benchmark has
 * them, `--save` into bench/results, `--json` to end with one line of ratios. Exit 1 when one of ours got something wrong.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { Schema } from "effect"
import { ourContenders, Refused, run } from "./Harness.ts"
import { faults, Results, ratios, table } from "./Ratios.ts"

/**
 * In all rounds each has its turn after the one before it here, ours behind them, and the first after our last. What a server
 * goes on doing after its turn falls to whoever comes next: after Restate's that is `raw`, of which no ratio is made.
 */
const PEERS = ["dbos", "restate", "raw", "limit"]

/** Ten minutes at most: of five, a mix, a hot resource and throughput differ by a third from run to run. */
const ROUNDS = 25

const main = async () => {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string" },
      only: { type: "string" },
      quick: { type: "boolean", default: false },
      "off-rounds": { type: "string", default: "0" },
      count: { type: "string", default: "no" },
      save: { type: "boolean", default: false },
      json: { type: "boolean", default: false }
    }
  })
  const results = await run({
    only: values.only?.split(",") ?? [...PEERS, ...(await ourContenders())],
    rounds: Number(values.rounds ?? (values.quick ? 1 : ROUNDS)),
    offRounds: Number(values["off-rounds"]),
    count: values.count
  })
  const measured = Schema.decodeUnknownSync(Results)(results)
  console.log(table(measured))
  const compared = ratios(measured)
  for (const [name, ratio] of Object.entries(compared)) console.log(`${name.padEnd(20)} ${ratio ?? "not measured"}`)
  if (values.save) save(results)
  const wrong = faults(measured)
  for (const fault of wrong) console.log(`WRONG ${fault}`)
  if (wrong.length > 0) process.exitCode = 1
  if (values.json) console.log(JSON.stringify(compared))
}

const save = (results: string) => {
  const folder = fileURLToPath(new URL("../results/", import.meta.url))
  mkdirSync(folder, { recursive: true })
  writeFileSync(`${folder}peers.json`, results)
  const biome = fileURLToPath(new URL("../../node_modules/.bin/biome", import.meta.url))
  spawnSync(biome, ["format", "--write", `${folder}peers.json`], { stdio: "ignore" })
  console.log("written to bench/results/peers.json")
}

try {
  await main()
} catch (cause) {
  if (!(cause instanceof Refused)) throw cause
  console.error(cause.message)
  process.exitCode = 1
}
