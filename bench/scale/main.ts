/**
 * `npm run bench:scale`: what sagas cost as their number, size and surroundings grow, on the real PostgreSQL (fsync on)
 * and Redis. `-- --only hot,letters` for some of it, `--quick` for small sizes, `--save` for pictures in docs/pictures,
 * `--json` to end with one JSON object.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { Effect, References, Schema } from "effect"
import { plot } from "../Plot.ts"
import { concurrency } from "./Concurrency.ts"
import { hot } from "./Hot.ts"
import { letters } from "./Letters.ts"
import { next, start } from "./Process.ts"
import { records } from "./Records.ts"
import { payload, steps } from "./Sizes.ts"
import { woken } from "./Woken.ts"
import { type Found, servers, type Urls } from "./World.ts"

const Waited = Schema.Struct({ heap: Schema.Number, rss: Schema.Number, endedMs: Schema.Number })

const waiting = (urls: Urls, quick: boolean): Effect.Effect<Found> =>
  Effect.promise(async () => {
    const notes: Array<string> = []
    const series = []
    for (const [name, given] of [
      ["in memory", undefined],
      ["on Redis", urls]
    ] as const) {
      const points: Array<readonly [number, number]> = []
      for (const count of quick ? [1000, 10_000] : [1000, 10_000, 100_000]) {
        const child = start(
          new URL("Waiting.ts", import.meta.url),
          { count, ...(given === undefined ? {} : { urls: given }) },
          ["--expose-gc"]
        )
        const { endedMs, heap, rss } = Schema.decodeUnknownSync(Waited)(await next(child))
        points.push([count, heap])
        notes.push(
          `${name}, ${count} wait: ${heap.toFixed(0)} MiB of heap (${rss.toFixed(0)} of memory), all ended in ${endedMs} ms`
        )
      }
      series.push({ name, points })
    }
    return { chart: { title: "Waiting sagas in one process", x: "waiting sagas", y: "MiB of heap", series }, notes }
  })

const experiments = { concurrency, waiting, records, letters, hot, woken, steps, payload }

const { values } = parseArgs({
  options: {
    only: { type: "string", default: Object.keys(experiments).join(",") },
    quick: { type: "boolean", default: false },
    save: { type: "boolean", default: false },
    json: { type: "boolean", default: false }
  }
})
const chosen = values.only.split(",")
const unknown = chosen.filter((name) => !(name in experiments))
if (unknown.length > 0) {
  console.error(`there is no experiment ${unknown.join(", ")}: choose among ${Object.keys(experiments).join(", ")}`)
  process.exit(1)
}

const pictures = new URL("../../docs/pictures/", import.meta.url)
const program = Effect.gen(function* () {
  const all: Record<string, Found> = {}
  for (const [name, experiment] of Object.entries(experiments)) {
    if (!chosen.includes(name)) continue
    process.stderr.write(`${name} ...\n`)
    // Each on servers of its own: a million records are in nobody's way.
    const found = yield* Effect.scoped(Effect.flatMap(servers, (urls) => experiment(urls, values.quick)))
    all[name] = found
    console.log(`\n${found.chart.title}\n${found.notes.map((note) => `  ${note}`).join("\n")}`)
    if (values.save) {
      mkdirSync(pictures, { recursive: true })
      writeFileSync(new URL(`scale-${name}.svg`, pictures), plot(found.chart))
    }
  }
  if (values.json) console.log(JSON.stringify(all))
})
await Effect.runPromise(program.pipe(Effect.provideService(References.MinimumLogLevel, "Fatal")))
process.exit(0)
