/** One resource that everybody wants: the time of a hand-over by how many wait, and the order they are served in. */
import { Context, Effect, Layer } from "effect"
import { type Found, freshId, live, sagaOf, timed, type Urls, Write } from "./World.ts"

/** Kendall's tau: 1 when all are served in the order in which they came. */
const tau = (order: ReadonlyArray<number>): number => {
  let agree = 0
  let all = 0
  for (let i = 0; i < order.length; i++) {
    for (let j = i + 1; j < order.length; j++) {
      all++
      if ((order[i] ?? 0) < (order[j] ?? 0)) agree++
    }
  }
  return all === 0 ? 1 : (2 * agree) / all - 1
}

export const hot = (urls: Urls, quick: boolean): Effect.Effect<Found, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const saga = sagaOf(1)
      const points: Array<readonly [number, number]> = []
      const notes: Array<string> = []
      const context = yield* Layer.build(live(urls))
      for (const waiters of [10, 100, quick ? 300 : 1000]) {
        const id = freshId()
        const served: Array<number> = []
        const one = (n: number) =>
          Effect.provideContext(
            saga.execute({ id, body: "" }, { idempotencyKey: `${id} ${n}` }),
            Context.add(context, Write, () => Effect.sync(() => void served.push(n)))
          )
        yield* one(-1)
        served.length = 0
        const all = Array.from({ length: waiters }, (_, n) => one(n))
        const took = yield* timed(Effect.all(all, { concurrency: "unbounded", discard: true }))
        points.push([waiters, took / waiters])
        notes.push(`${waiters} waiters: ${(took / waiters).toFixed(3)} ms a hand-over, tau ${tau(served).toFixed(4)}`)
      }
      const series = [{ name: "one process", points }]
      return { chart: { title: "A hot resource", x: "waiting sagas", y: "ms a hand-over", series }, notes }
    })
  )
