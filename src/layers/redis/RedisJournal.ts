/**
 * Journals in Redis: one script a call. They survive the death of a process, not that of Redis' data.
 *
 * **Gotchas**
 *
 * - Redis must not evict: set `maxmemory-policy noeviction`.
 * - The scripts reach several keys without a common hash tag: one Redis (with replicas), not a cluster. There, keep the
 *   journal in SQL.
 */
import { DateTime, Duration, Effect, Layer, Schema } from "effect"
import * as Redis from "effect/persistence/Redis"
import { Journal, type JournalFilter, JournalRecord, SagaOutcome, SagaStatus } from "../../schema/Journal.ts"
import { JournalError } from "../../schema/JournalError.ts"
import { SagaJournal } from "../../services/SagaJournal.ts"
import { keep, kept, makeKeptSagas, recordsOf, recordsText } from "../journal/JournalText.ts"
import * as Scripts from "./RedisJournalScripts.ts"

export interface RedisJournalOptions {
  /** How long a finished journal is kept; 24 hours unless said. */
  readonly retention?: Duration.Input
}

const Head = Schema.fromJsonString(
  Schema.Struct({
    sagaId: Schema.String,
    saga: Schema.String,
    version: Schema.Int,
    resources: Schema.Array(Schema.String),
    fence: Schema.Int,
    key: Schema.String,
    derived: Schema.Boolean,
    fingerprint: Schema.String
  })
)
const Stored = Schema.Tuple([
  Head,
  Schema.FiniteFromString,
  SagaStatus,
  Schema.NullOr(SagaOutcome),
  Schema.NullOr(Schema.String),
  Schema.NullOr(Schema.String),
  Schema.FiniteFromString,
  Schema.FiniteFromString,
  Schema.fromJsonString(Schema.Unknown),
  Schema.Array(Schema.String)
])
const decodeRecords = Schema.decodeUnknownEffect(Schema.Array(JournalRecord))

const matches = (journal: Journal, { before, resource, saga, status }: JournalFilter): boolean =>
  (status === undefined ||
    (status === "stuck" ? journal.status !== "finished" && journal.problem !== null : journal.status === status)) &&
  (resource === undefined || journal.resources.includes(resource)) &&
  (saga === undefined || journal.saga === saga) &&
  (before === undefined || DateTime.isLessThan(journal.openedAt, before))

const byAge = (a: Journal, b: Journal): number =>
  DateTime.toEpochMillis(a.openedAt) - DateTime.toEpochMillis(b.openedAt) || (a.sagaId < b.sagaId ? -1 : 1)

const make = Effect.fnUntraced(function* (options: RedisJournalOptions) {
  const redis = yield* Redis.Redis
  const retention = Duration.toMillis(Duration.fromInputUnsafe(options.retention ?? "24 hours"))
  const sagas = makeKeptSagas()
  const failed = (operation: string) => (cause: unknown) => new JournalError({ operation, cause })
  const asked = (operation: string, question: Effect.Effect<0 | 1, Redis.RedisError>, written?: () => void) =>
    Effect.matchEffect(question, {
      onFailure: (cause) => Effect.fail(failed(operation)(cause)),
      onSuccess: (answer) => {
        if (answer === 1) written?.()
        return Effect.succeed(answer === 1)
      }
    })

  const get = Effect.fnUntraced(function* (sagaId: string): Effect.fn.Return<Journal | undefined, JournalError> {
    const stored = yield* Effect.mapError(redis.eval(Scripts.read)(sagaId), failed("read"))
    if (stored.length === 0) return undefined
    const [head, owner, status, outcome, problem, result, opened, updated, payload, texts] = yield* Effect.mapError(
      Schema.decodeUnknownEffect(Stored)(stored),
      failed("read")
    )
    const records = yield* Effect.mapError(decodeRecords(recordsOf(texts, payload)), failed("read"))
    return new Journal({
      ...head,
      payload,
      owner,
      status,
      outcome,
      problem,
      result,
      records,
      openedAt: DateTime.makeUnsafe(opened),
      updatedAt: DateTime.makeUnsafe(updated)
    })
  })
  const getAll = (sagaIds: ReadonlyArray<string>) =>
    Effect.map(
      Effect.forEach(
        sagaIds,
        (sagaId) =>
          Effect.tap(get(sagaId), (journal) =>
            journal === undefined ? Effect.mapError(redis.eval(Scripts.forget)(sagaId), failed("read")) : Effect.void
          ),
        { concurrency: 16 }
      ),
      (found) => found.filter((journal) => journal !== undefined)
    )
  /** Those that are still unfinished. */
  const inTheWay = (sagaIds: ReadonlyArray<string>) =>
    Effect.map(getAll([...new Set(sagaIds)]), (found) =>
      found.filter((journal) => journal.status !== "finished").sort((a, b) => b.fence - a.fence)
    )
  const candidates = Effect.fnUntraced(
    function* ({ resource, status }: JournalFilter) {
      const unfinished = status !== undefined && status !== "finished"
      if (!unfinished || resource === undefined) return yield* redis.eval(Scripts.ids)(unfinished)
      const sagaId = yield* redis.eval(Scripts.unfinished)(resource)
      return sagaId === "" ? [] : [sagaId]
    },
    Effect.mapError(failed("read"))
  )

  return {
    keeps: true,
    open: (saga, records = []) => {
      const own = kept(saga.sagaId, saga.payload)
      const { text } = recordsText(records, own)
      const opened: Effect.Effect<ReadonlyArray<Journal>, JournalError> = Effect.matchEffect(
        redis.eval(Scripts.open)(saga, own.payload.text, text),
        {
          onFailure: (cause) => Effect.fail(failed("open")(cause)),
          onSuccess: (others) => {
            if (others.length > 0) {
              return Effect.flatMap(inTheWay(others), (found) => (found.length > 0 ? Effect.succeed(found) : opened))
            }
            // If it was open already its payload is this one, but the records were not written.
            sagas.opened(saga, own)
            return Effect.succeed([])
          }
        }
      )
      return opened
    },
    append: (ref, owner, records) => {
      const own = sagas.of(ref)
      const texts = recordsText(records, own)
      const undoing = records.some(({ _tag }) => _tag === "Undoing")
      return asked("append", redis.eval(Scripts.append)(ref.sagaId, owner, undoing, texts.text), () => {
        if (own !== undefined) keep(own, texts)
      })
    },
    close: (ref, owner, records, end) =>
      asked("close", redis.eval(Scripts.close)(ref, owner, recordsText(records, sagas.of(ref)).text, end, retention)),
    claim: ({ sagaId }, from, to) =>
      to <= from ? Effect.succeed(false) : asked("claim", redis.eval(Scripts.claim)(sagaId, from, to)),
    note: ({ sagaId }, problem) =>
      Effect.asVoid(Effect.mapError(redis.eval(Scripts.note)(sagaId, problem), failed("note"))),
    get,
    list: Effect.fnUntraced(function* (filter = {}) {
      const found = (yield* getAll(yield* candidates(filter))).filter((journal) => matches(journal, filter)).sort(byAge)
      const from = filter.after === undefined ? 0 : found.findIndex(({ sagaId }) => sagaId === filter.after) + 1
      const limit = filter.limit ?? 100
      if (from > 0 || filter.after === undefined) return found.slice(from, from + limit)
      // The last of the page before has left the list: those after it in age follow.
      const last = yield* get(filter.after)
      return last === undefined ? [] : found.filter((journal) => byAge(last, journal) < 0).slice(0, limit)
    }),
    purge: (finishedBefore) =>
      Effect.mapError(redis.eval(Scripts.purge)(DateTime.toEpochMillis(finishedBefore)), failed("purge"))
  } satisfies SagaJournal
})

export const layerWith = (options: RedisJournalOptions): Layer.Layer<never, never, Redis.Redis> =>
  Layer.effect(SagaJournal, make(options))

export const layer: Layer.Layer<never, never, Redis.Redis> = layerWith({})
