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
import { fenceText, keep, kept, makeKeptSagas, recordsOf, recordsText } from "../journal/JournalText.ts"
import { opening } from "../journal/Opening.ts"
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
/** Its owner and status, when it was opened and when it last changed; then its outcome; then a text of one or more lines. */
const STATE = /^(\d+) (\w+) (\d+) (\d+)(?: (\w+))?(?:\n(.*))?$/s
/** When it was written, and what. */
const RECORD = /^(\d+) (\d+)\n(.*)$/s

const Stored = Schema.Struct({
  head: Head,
  payload: Schema.fromJsonString(Schema.Unknown),
  owner: Schema.FiniteFromString,
  status: SagaStatus,
  outcome: Schema.NullOr(SagaOutcome),
  openedAt: Schema.FiniteFromString,
  changedAt: Schema.FiniteFromString,
  records: Schema.Array(Schema.Struct({ writtenAt: Schema.Finite, text: Schema.String }))
})

const decodeStored = ([state = "", head, payload, ...records]: ReadonlyArray<string>) => {
  const [, owner, status, openedAt, changedAt, outcome = null, text = null] = STATE.exec(state) ?? []
  return Effect.map(
    Schema.decodeUnknownEffect(Stored)({
      head,
      payload,
      owner,
      status,
      outcome,
      openedAt,
      changedAt,
      records: records.map((record) => {
        const [, seconds, micros, text] = RECORD.exec(record) ?? []
        return { writtenAt: Number(seconds) * 1000 + Math.floor(Number(micros) / 1000), text }
      })
    }),
    (stored) => ({
      ...stored,
      problem: stored.status === "finished" ? null : text,
      result: stored.status === "finished" ? text : null
    })
  )
}
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

  const [opens, appends, closes] = [redis.eval(Scripts.open), redis.eval(Scripts.append), redis.eval(Scripts.close)]

  const get = Effect.fnUntraced(function* (sagaId: string): Effect.fn.Return<Journal | undefined, JournalError> {
    const texts = yield* Effect.mapError(redis.eval(Scripts.read)(sagaId), failed("read"))
    if (texts.length === 0) return undefined
    const { changedAt, head, openedAt, payload, records, ...stored } = yield* Effect.mapError(
      decodeStored(texts),
      failed("read")
    )
    const written = recordsOf(
      records.map(({ text }) => text),
      payload
    )
    return new Journal({
      ...head,
      ...stored,
      payload,
      records: yield* Effect.mapError(decodeRecords(written), failed("read")),
      openedAt: DateTime.makeUnsafe(openedAt),
      updatedAt: DateTime.makeUnsafe(Math.max(changedAt, records.at(-1)?.writtenAt ?? 0))
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
  const closing: NonNullable<SagaJournal["closing"]> = (ref, owner, records, end) => {
    const own = sagas.of(ref)
    return Scripts.closing(ref, fenceText(owner, own), recordsText(records, own).text, end, retention)
  }
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
      const own = kept(saga)
      const { text } = recordsText(records, own)
      // If it was open already its payload is this one, but the records were not written.
      return opening(opens(saga, own.fence[1], own.payload.text, text), inTheWay, () => sagas.opened(saga, own))
    },
    append: (ref, owner, records) => {
      const own = sagas.of(ref)
      const texts = recordsText(records, own)
      const undoing = records.some(({ _tag }) => _tag === "Undoing")
      return asked("append", appends(ref.sagaId, fenceText(owner, own), undoing, texts.text), () => {
        if (own !== undefined) keep(own, texts)
      })
    },
    closing,
    close: (ref, owner, records, end) => asked("close", closes(closing(ref, owner, records, end))),
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
