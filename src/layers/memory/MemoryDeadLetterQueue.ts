/** Dead letters within one process, for tests and demos; and none at all, for the toggle. */
import { DateTime, Effect, Layer, Metric } from "effect"
import { DeadLetter, type DeadLetterFilter, deadLetterId } from "../../schema/DeadLetter.ts"
import { DeadLetterError } from "../../schema/DeadLetterError.ts"
import { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import { deadLetterQueueSize } from "../../services/Metrics.ts"

const MAX_RETRIES = 10

const waits = (letter: DeadLetter) => letter.status === "pending" || letter.status === "retrying"

/** Written later, to what the other was written to: it has to be redriven first. */
const isNewer = (one: DeadLetter, other: DeadLetter) =>
  one.database === other.database &&
  (one.fence > other.fence || (one.fence === other.fence && one.call > other.call)) &&
  one.resources.some((resource) => other.resources.includes(resource))

const isPast = (time: DateTime.Utc, now: DateTime.Utc) => DateTime.isLessThanOrEqualTo(time, now)

/** The error that it was added with stays beside the latest. */
const withFirstError = ({ errorMessage, errorType, metadata }: DeadLetter) => {
  const known = typeof metadata === "object" && metadata !== null ? metadata : { metadata }
  return "firstError" in known ? known : { ...known, firstError: { type: errorType, message: errorMessage } }
}

const notFound = (id: string) => new DeadLetterError({ reason: { _tag: "NotFound", id } })
const notRedrivable = (id: string, problem: string) =>
  new DeadLetterError({ reason: { _tag: "NotRedrivable", id, problem } })

/** What of an entry changes, as `DeadLetter` has no setters. */
interface Entry {
  readonly letter: DeadLetter
  readonly closedAt: DateTime.Utc | undefined
}

const make = (): DeadLetterQueue["Service"] => {
  // In the order of arrival.
  const entries = new Map<string, Entry>()
  const letters = () => [...entries.values()].map(({ letter }) => letter)
  const size = () => letters().filter(waits).length
  const gauge = Effect.suspend(() => Metric.update(deadLetterQueueSize, size()))
  const change = (letter: DeadLetter, changes: Partial<typeof DeadLetter.Type>, closedAt?: DateTime.Utc) => {
    const changed = new DeadLetter({ ...letter, ...changes })
    entries.set(letter.id, { letter: changed, closedAt })
    return changed
  }
  const get = (id: string): Effect.Effect<DeadLetter, DeadLetterError> =>
    Effect.suspend(() => {
      const letter = entries.get(id)?.letter
      return letter === undefined ? Effect.fail(notFound(id)) : Effect.succeed(letter)
    })
  const close = Effect.fnUntraced(function* (id: string, status: "resolved" | "discarded") {
    const now = yield* DateTime.now
    const letter = yield* get(id)
    if (!waits(letter)) return yield* notRedrivable(id, `it is ${letter.status} already`)
    change(letter, { status }, now)
    yield* gauge
  })
  const list = (filter: DeadLetterFilter = {}) => {
    const all = letters()
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
  const newerThan = (letter: DeadLetter) => letters().find((other) => waits(other) && isNewer(other, letter))
  const claimed = (letter: DeadLetter, until: DateTime.Utc) =>
    change(letter, { status: "retrying", dueAt: until, retryCount: letter.retryCount + 1 })

  return {
    add: Effect.fnUntraced(function* (entry) {
      const id = deadLetterId(entry)
      if (!entries.has(id)) {
        const createdAt = yield* DateTime.now
        const given = {
          id,
          status: "pending",
          retryCount: 0,
          maxRetries: MAX_RETRIES,
          problem: null,
          createdAt
        } as const
        entries.set(id, { letter: new DeadLetter({ ...entry, ...given }), closedAt: undefined })
        yield* Effect.logError(`${entry.saga} left ${entry.step || "its work"} unsettled: dead letter ${id}`)
      }
      yield* gauge
      return id
    }),
    get,
    list: (filter) => Effect.sync(() => list(filter)),
    resolve: (id) => close(id, "resolved"),
    discard: (id) => close(id, "discarded"),
    claim: Effect.fnUntraced(function* (id, until) {
      const now = yield* DateTime.now
      const letter = yield* get(id)
      if (!waits(letter)) return yield* notRedrivable(id, `it is ${letter.status} already`)
      if (letter.status === "retrying" && !isPast(letter.dueAt, now)) return undefined
      const newer = newerThan(letter)
      if (newer !== undefined) return yield* notRedrivable(id, `the newer dead letter ${newer.id} goes first`)
      return claimed(letter, until)
    }),
    claimDue: ({ limit, sagas, until }) =>
      Effect.map(DateTime.now, (now) =>
        letters()
          .filter(
            (letter) =>
              waits(letter) &&
              isPast(letter.dueAt, now) &&
              letter.retryCount < letter.maxRetries &&
              sagas.includes(letter.saga) &&
              newerThan(letter) === undefined
          )
          .slice(0, limit)
          .map((letter) => claimed(letter, until))
      ),
    release: (given, how) =>
      Effect.sync(() => {
        const letter = entries.get(given.id)?.letter
        if (letter?.status !== "retrying" || letter.retryCount !== given.retryCount) return
        change(letter, {
          status: "pending",
          dueAt: how.dueAt,
          retryCount: letter.retryCount - (how.counts ? 0 : 1),
          problem: how.problem ?? null,
          ...(how.error === undefined
            ? {}
            : {
                errorType: how.error.type,
                errorMessage: how.error.message,
                metadata: withFirstError(letter)
              })
        })
      }),
    purge: (closedBefore) =>
      Effect.sync(() => {
        let purged = 0
        for (const [id, { closedAt }] of entries) {
          if (closedAt === undefined || !DateTime.isLessThan(closedAt, closedBefore)) continue
          entries.delete(id)
          purged++
        }
        return purged
      }),
    drained: Effect.succeed(true),
    stats: Effect.sync(() => {
      const counts = { pending: 0, retrying: 0, resolved: 0, discarded: 0 }
      for (const letter of letters()) counts[letter.status]++
      return counts
    }),
    size: Effect.sync(size)
  }
}

export const layer: Layer.Layer<DeadLetterQueue> = Layer.sync(DeadLetterQueue, make)

/** With dead letters switched off: each is logged as one JSON line and kept nowhere. */
export const layerOff: Layer.Layer<DeadLetterQueue> = Layer.succeed(DeadLetterQueue, {
  add: (entry) => Effect.as(Effect.logError(`dead letter not kept: ${JSON.stringify(entry)}`), deadLetterId(entry)),
  get: (id) => Effect.fail(notFound(id)),
  list: () => Effect.succeed([]),
  resolve: (id) => Effect.fail(notFound(id)),
  discard: (id) => Effect.fail(notFound(id)),
  claim: (id) => Effect.fail(notFound(id)),
  claimDue: () => Effect.succeed([]),
  release: () => Effect.void,
  purge: () => Effect.succeed(0),
  drained: Effect.succeed(true),
  stats: Effect.succeed({ pending: 0, retrying: 0, resolved: 0, discarded: 0 }),
  size: Effect.succeed(0)
})
