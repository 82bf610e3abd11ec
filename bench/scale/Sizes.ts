/** What one saga costs by the number of its steps, and by the size of its payload. */
import { Context, Effect, Layer } from "effect"
import { SagaMemory } from "../../src/index.ts"
import {
  type Found,
  freshId,
  live,
  medianOf,
  sagaOf,
  type Urls,
  type Write,
  writingNothing,
  writingRows
} from "./World.ts"

type Run = (steps: number, body: string) => Effect.Effect<unknown, unknown>

/** The same saga in memory, on servers, and on servers with a durable journal. */
const worlds = (urls: Urls) =>
  Effect.gen(function* () {
    const runIn = (context: Context.Context<import("../../src/index.ts").Saga.SagaServices | Write>): Run => {
      const sagas = new Map([1, 3, 6, 12, 24].map((steps) => [steps, sagaOf(steps)]))
      return (steps, body) =>
        Effect.suspend(() => {
          const saga = sagas.get(steps) ?? sagaOf(steps)
          return Effect.provideContext(saga.execute({ id: freshId(), body }), context)
        })
    }
    const memory = yield* Layer.build(SagaMemory.layer)
    const none = yield* Layer.build(live(urls))
    const sql = yield* Layer.build(live(urls, { journal: "sql" }))
    const rows = yield* Effect.provideContext(writingRows, none)
    return [
      ["in memory", runIn(Context.merge(memory, writingNothing))],
      ["real stores", runIn(Context.merge(none, rows))],
      ["real stores, SQL journal", runIn(Context.merge(sql, rows))]
    ] as const
  })

export const steps = (urls: Urls, quick: boolean): Effect.Effect<Found, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const series = []
      for (const [name, run] of yield* worlds(urls)) {
        const points: Array<readonly [number, number]> = []
        for (const count of [1, 3, 6, 12, 24]) {
          yield* medianOf(20, () => run(count, ""))
          points.push([count, yield* medianOf(quick ? 10 : 60, () => run(count, ""))])
        }
        series.push({ name, points })
      }
      const notes = series.map(({ name, points }) => {
        const [[least, from] = [1, 0], [most, to] = [1, 0]] = [points[0], points.at(-1)]
        return `${name}: ${((to - from) / (most - least)).toFixed(3)} ms for each further step`
      })
      return {
        chart: { title: "Steps, each with one durable write", x: "steps", y: "ms a saga (median)", series },
        notes
      }
    })
  )

export const payload = (urls: Urls, quick: boolean): Effect.Effect<Found, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const series = []
      for (const [name, run] of yield* worlds(urls)) {
        const points: Array<readonly [number, number]> = []
        for (const size of [1, 16, 128, 1024]) {
          const body = "0123456789abcdef".repeat(size * 64)
          yield* medianOf(5, () => run(3, body))
          points.push([size, yield* medianOf(quick ? 5 : 30, () => run(3, body))])
        }
        series.push({ name, points })
      }
      const notes = series.map(
        ({ name, points }) => `${name}: ${points.map(([size, ms]) => `${size} KiB ${ms.toFixed(2)} ms`).join(", ")}`
      )
      return { chart: { title: "Payload, three steps", x: "KiB of payload", y: "ms a saga (median)", series }, notes }
    })
  )
