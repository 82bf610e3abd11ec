/** Sagas a second by how many are in flight, from one process and from four that share them. */
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Effect, Schema } from "effect"
import { at, type Found, type Urls } from "./World.ts"

const IN_FLIGHT = [1, 8, 64, 512]

const Answers = Schema.Array(Schema.Struct({ perSecond: Schema.Number, times: Schema.Array(Schema.Number) }))

/** Each process warms up, waits for the others, and then runs for as long as they do. */
const processes = async (urls: Urls, count: number, inFlight: number, seconds: number) => {
  const file = fileURLToPath(new URL("ConcurrencyProcess.ts", import.meta.url))
  const each = inFlight / count
  const children = Array.from({ length: count }, () => fork(file, [JSON.stringify({ urls, each, seconds })]))
  const next = (child: (typeof children)[number]) => new Promise<unknown>((resolve) => child.once("message", resolve))
  await Promise.all(children.map(next))
  const answers = children.map(next)
  for (const child of children) child.send("go")
  const all = Schema.decodeUnknownSync(Answers)(await Promise.all(answers))
  return {
    perSecond: all.reduce((sum, { perSecond }) => sum + perSecond, 0),
    p99: at(
      all.flatMap(({ times }) => times),
      0.99
    )
  }
}

export const concurrency = (urls: Urls, quick: boolean): Effect.Effect<Found> =>
  Effect.promise(async () => {
    const notes: Array<string> = []
    const series = []
    for (const count of [1, 4]) {
      const points: Array<readonly [number, number]> = []
      for (const inFlight of IN_FLIGHT.filter((all) => all >= count)) {
        const { p99, perSecond } = await processes(urls, count, inFlight, quick ? 1 : 4)
        points.push([inFlight, perSecond])
        notes.push(
          `${count} process(es), ${inFlight} in flight: ${perSecond.toFixed(0)} sagas/s, p99 ${p99.toFixed(1)} ms`
        )
      }
      series.push({ name: count === 1 ? "one process" : "four processes", points })
    }
    return {
      chart: { title: "Throughput, three durable writes a saga", x: "sagas in flight", y: "sagas per second", series },
      notes
    }
  })
