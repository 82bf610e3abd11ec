/** Sagas a second by how many are in flight, from one process and from four that share them. */
import { Effect, Schema } from "effect"
import { next, start } from "./Process.ts"
import { at, type Found, type Urls } from "./World.ts"

const IN_FLIGHT = [1, 8, 64, 512]

const Answers = Schema.Array(Schema.Struct({ perSecond: Schema.Number, times: Schema.Array(Schema.Number) }))

/** Each process warms up, waits for the others, and then runs for as long as they do. */
const processes = async (urls: Urls, count: number, inFlight: number, seconds: number) => {
  const each = inFlight / count
  const children = Array.from({ length: count }, () =>
    start(new URL("ConcurrencyProcess.ts", import.meta.url), { urls, each, seconds })
  )
  await Promise.all(children.map(next))
  const answers = Promise.all(children.map(next))
  // Who has ended meanwhile is told of by `next`.
  for (const child of children) child.send("go", () => {})
  const all = Schema.decodeUnknownSync(Answers)(await answers)
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
