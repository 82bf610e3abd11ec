/** Dead letters within one process, for tests and demos; and none at all, for the toggle. */
import { DateTime, Effect, Layer, Metric } from "effect"
import { DeadLetter, type DeadLetterFilter, deadLetterId } from "../../schema/DeadLetter.ts"
import { DeadLetterError } from "../../schema/DeadLetterError.ts"
import { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import { deadLetterQueueSize } from "../../services/Metrics.ts"

const waits = (letter: DeadLetter) => letter.status === "pending" || letter.status === "retrying"

const make = (): DeadLetterQueue["Service"] => {
  // In the order of arrival.
  const letters = new Map<string, DeadLetter>()
  const size = () => [...letters.values()].filter(waits).length
  const gauge = Effect.suspend(() => Metric.update(deadLetterQueueSize, size()))

  const get = (id: string): Effect.Effect<DeadLetter, DeadLetterError> => {
    const letter = letters.get(id)
    return letter === undefined
      ? Effect.fail(new DeadLetterError({ reason: { _tag: "NotFound", id } }))
      : Effect.succeed(letter)
  }
  const close = (id: string, status: "resolved" | "discarded") =>
    Effect.flatMap(get(id), (letter) => {
      if (!waits(letter)) {
        const problem = `it is ${letter.status} already`
        return Effect.fail(new DeadLetterError({ reason: { _tag: "NotRedrivable", id, problem } }))
      }
      letters.set(id, new DeadLetter({ ...letter, status }))
      return gauge
    })
  const list = (filter: DeadLetterFilter = {}) => {
    const all = [...letters.values()]
    const from = filter.after === undefined ? 0 : all.findIndex((letter) => letter.id === filter.after) + 1
    return all
      .slice(from)
      .filter(
        (letter) =>
          (filter.status === undefined || letter.status === filter.status) &&
          (filter.saga === undefined || letter.saga === filter.saga) &&
          (filter.database === undefined || letter.database === filter.database)
      )
      .slice(0, filter.limit ?? 100)
  }

  return {
    add: Effect.fnUntraced(function* (entry) {
      const id = deadLetterId(entry)
      if (!letters.has(id)) {
        const createdAt = yield* DateTime.now
        letters.set(id, new DeadLetter({ ...entry, id, status: "pending", retryCount: 0, createdAt }))
        yield* Effect.logError(`${entry.saga} left ${entry.step || "its work"} unsettled: dead letter ${id}`)
      }
      yield* gauge
      return id
    }),
    get,
    list: (filter) => Effect.sync(() => list(filter)),
    resolve: (id) => close(id, "resolved"),
    discard: (id) => close(id, "discarded"),
    stats: Effect.sync(() => {
      const counts = { pending: 0, retrying: 0, resolved: 0, discarded: 0 }
      for (const letter of letters.values()) counts[letter.status]++
      return counts
    }),
    size: Effect.sync(size)
  }
}

export const layer: Layer.Layer<DeadLetterQueue> = Layer.sync(DeadLetterQueue, make)

/** With dead letters switched off: each is logged as one JSON line and kept nowhere. */
export const layerOff: Layer.Layer<DeadLetterQueue> = Layer.succeed(DeadLetterQueue, {
  add: (entry) => Effect.as(Effect.logError(`dead letter not kept: ${JSON.stringify(entry)}`), deadLetterId(entry)),
  get: (id) => Effect.fail(new DeadLetterError({ reason: { _tag: "NotFound", id } })),
  list: () => Effect.succeed([]),
  resolve: (id) => Effect.fail(new DeadLetterError({ reason: { _tag: "NotFound", id } })),
  discard: (id) => Effect.fail(new DeadLetterError({ reason: { _tag: "NotFound", id } })),
  stats: Effect.succeed({ pending: 0, retrying: 0, resolved: 0, discarded: 0 }),
  size: Effect.succeed(0)
})
