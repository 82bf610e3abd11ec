/** Looking up, admitting and ending beside a million recorded results. */
import { Context, Effect, Layer } from "effect"
import { Redis as Client } from "ioredis"
import { type IdempotencyRequest, SagaGuard } from "../../src/index.ts"
import { recordText } from "../../src/layers/redis/Records.ts"
import { recordKey } from "../../src/layers/redis/RedisKeys.ts"
import { type Found, freshId, live, medianOf, type Urls } from "./World.ts"

const request = (n: string): IdempotencyRequest => ({
  saga: "Filled",
  sagaId: `saga ${n}`,
  key: `key ${n}`,
  derived: false,
  fingerprint: "print",
  resources: [`resource ${n}`]
})

/** Exactly what the library writes of a result, in a pipeline. */
const fill = async (url: string, from: number, to: number) => {
  const client = new Client(url)
  for (let start = from; start < to; start += 10_000) {
    const pipeline = client.pipeline()
    for (let n = start; n < Math.min(to, start + 10_000); n++) {
      const asked = request(`${n}`)
      const ending = { _tag: "Result", text: `{"id":"saga ${n}"}` } as const
      pipeline.set(recordKey(asked), recordText(asked, "1795000000000000", ending), "PX", 86_400_000)
    }
    await pipeline.exec()
  }
  client.disconnect()
}

export const records = (urls: Urls, quick: boolean): Effect.Effect<Found, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const guard = Context.get(yield* Layer.build(live(urls)), SagaGuard)
      const serve = (one: IdempotencyRequest) =>
        Effect.scoped(
          Effect.flatMap(guard.enter(one), (admission) =>
            admission._tag === "Admitted"
              ? Effect.as(admission.commit({ _tag: "Result", text: "{}" }), "ran")
              : Effect.succeed(admission.result)
          )
        )
      const sizes = quick ? [0, 1000, 10_000] : [0, 10_000, 100_000, 1_000_000]
      const [firsts, repeats]: [Array<readonly [number, number]>, Array<readonly [number, number]>] = [[], []]
      let filled = 0
      for (const size of sizes) {
        yield* Effect.promise(() => fill(urls.redis, filled, size))
        filled = size
        yield* medianOf(300, () => serve(request(freshId())))
        firsts.push([size, yield* medianOf(1000, () => serve(request(freshId())))])
        const known = size === 0 ? freshId() : `${size - 1}`
        yield* serve(request(known))
        repeats.push([size, yield* medianOf(1000, () => serve({ ...request(known), sagaId: freshId() }))])
        if (size > 0 && (yield* serve(request(`${size >> 1}`))) !== `{"id":"saga ${size >> 1}"}`) {
          return yield* Effect.die("a loaded record is not served")
        }
      }
      const series = [
        { name: "first request", points: firsts },
        { name: "repeat", points: repeats }
      ]
      const notes = series.map(
        ({ name, points }) => `${name}: ${points.map(([size, ms]) => `${size} records ${ms.toFixed(3)} ms`).join(", ")}`
      )
      return { chart: { title: "Recorded results", x: "records in Redis", y: "ms (median)", series }, notes }
    })
  )
