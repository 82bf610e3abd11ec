/** Interleaved measurement: each contender in turn, many rounds, so that what disturbs the machine disturbs all alike. */
import { Clock, Effect } from "effect"

export interface Contender<R> {
  readonly name: string
  /** One saga, or what stands for it. */
  readonly once: (n: number) => Effect.Effect<unknown, unknown, R>
}

export interface Measured {
  readonly name: string
  readonly medianMs: number
  readonly p99Ms: number
  /** To the first contender's median. */
  readonly ratio: number
  /** Sagas a second, with 64 at once. */
  readonly throughput: number
}

const at = (sorted: ReadonlyArray<number>, share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? 0

const timed = <E, R>(effect: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const since = clock.currentTimeNanosUnsafe()
    yield* effect
    return Number(clock.currentTimeNanosUnsafe() - since) / 1e6
  })

export const measure = Effect.fnUntraced(function* <R>(
  contenders: ReadonlyArray<Contender<R>>,
  options: {
    readonly rounds: number
    readonly perRound: number
    /** How many a round for the throughput; 192 unless said. */
    readonly batch?: number
    readonly onRound: (round: number) => void
  }
) {
  const times = new Map<string, Array<number>>(contenders.map(({ name }) => [name, []]))
  const rates = new Map<string, Array<number>>(contenders.map(({ name }) => [name, []]))
  let n = 0
  // Long enough for the compiler to have settled.
  for (const { once } of contenders) for (let i = 0; i < options.perRound * 15; i++) yield* once(n++)
  for (let round = 0; round < options.rounds; round++) {
    for (const { name, once } of contenders) {
      for (let i = 0; i < options.perRound; i++) times.get(name)?.push(yield* timed(once(n++)))
      const batch = Array.from({ length: options.batch ?? 192 }, () => n++)
      const took = yield* timed(Effect.forEach(batch, once, { concurrency: 64, discard: true }))
      rates.get(name)?.push((batch.length / took) * 1000)
    }
    options.onRound(round + 1)
  }
  const medians = new Map(
    [...times].map(([name, all]) => {
      const sorted = all.toSorted((a, b) => a - b)
      return [name, { median: at(sorted, 0.5), p99: at(sorted, 0.99) }]
    })
  )
  const base = medians.get(contenders[0]?.name ?? "")?.median ?? 1
  return contenders.map(({ name }): Measured => {
    const { median, p99 } = medians.get(name) ?? { median: 0, p99: 0 }
    return {
      name,
      medianMs: median,
      p99Ms: p99,
      ratio: median / base,
      throughput: at(
        (rates.get(name) ?? []).toSorted((a, b) => a - b),
        0.5
      )
    }
  })
})

export const progress = (what: string) => (round: number) => process.stderr.write(`\r${what}: round ${round}   `)

export const table = (rows: ReadonlyArray<Measured>): string =>
  [
    "contender                          median ms    p99 ms    ratio    sagas/s at 64",
    ...rows.map(({ medianMs, name, p99Ms, ratio, throughput }) =>
      [
        name.padEnd(34),
        medianMs.toFixed(3).padStart(10),
        p99Ms.toFixed(3).padStart(10),
        ratio.toFixed(2).padStart(9),
        throughput.toFixed(0).padStart(17)
      ].join("")
    )
  ].join("\n")
