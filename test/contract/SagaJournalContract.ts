/** What every journal does. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, type Layer } from "effect"
import { type JournalRecord, type NewJournal, SagaJournal } from "effect-saga"
import { sagaJournalRaces } from "./SagaJournalRaces.ts"

let names = 0
export const own = (what: string) => `${what}-${process.pid}-${++names}`
/** Like the fences of a lock, beyond what 32 bits hold. */
export const T = 1_795_000_000_000_000

export const sagaOn = (resources: ReadonlyArray<string>, changes: Partial<NewJournal> = {}): NewJournal => ({
  sagaId: own("saga"),
  saga: "Write",
  version: 3,
  resources,
  fence: T,
  key: "key",
  derived: true,
  fingerprint: "print",
  payload: { text: 'quotes " \\ and ünïcode', nothing: null },
  ...changes
})

export const started = (call: number): JournalRecord => ({
  _tag: "Started",
  call,
  parent: null,
  kind: "undoable",
  path: "a",
  fence: T,
  input: { id: call },
  before: null
})
export const done = (call: number): JournalRecord => ({ _tag: "Done", call, finished: call, output: null })
const undone = { outcome: "undone", result: null } as const
const ids = (journals: ReadonlyArray<{ readonly sagaId: string }>) => journals.map(({ sagaId }) => sagaId)

export const sagaJournalContract = (name: string, layer: Layer.Layer<never, unknown>) =>
  describe(`SagaJournal: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true, timeout: 60_000 })((test) => {
      sagaJournalRaces(test)

      test.effect("opens with its first records, and asked again adds none", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const saga = sagaOn([own("r")])
          assert.deepStrictEqual(yield* journal.open(saga, [started(0), done(0)]), [])
          assert.deepStrictEqual(yield* journal.open(saga, [started(0), done(0)]), [])
          assert.strictEqual((yield* journal.open(sagaOn(saga.resources), [started(7)])).length, 1)
          yield* journal.append(saga, T, [started(1)])
          assert.deepStrictEqual((yield* journal.get(saga.sagaId))?.records, [started(0), done(0), started(1)])
        })
      )

      test.effect("keeps the order of a payload's members, and of an input's", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const members = { b: 1, a: { d: 2, c: 3 }, "10": 4 }
          const saga = sagaOn([own("r")], { payload: members })
          const of = (input: unknown): JournalRecord => Object.assign({}, started(0), { input })
          yield* journal.open(saga, [of(structuredClone(members))])
          yield* journal.append(saga, T, [of({ z: 0, ...members })])
          const found = (yield* journal.get(saga.sagaId)) ?? assert.fail("it is not there")
          assert.strictEqual(JSON.stringify(found.payload), JSON.stringify(members))
          assert.deepStrictEqual(
            found.records.map((record) => record._tag === "Started" && JSON.stringify(record.input)),
            [JSON.stringify(members), JSON.stringify({ z: 0, ...members })]
          )
        })
      )

      test.effect("gives back what was written, in order", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const saga = sagaOn([own("r"), own("r")])
          assert.deepStrictEqual(yield* journal.open(saga), [])
          assert.isTrue(yield* journal.append(saga, T, [started(0)]))
          assert.isTrue(yield* journal.append(saga, T, [done(0), started(1)]))
          const found = (yield* journal.get(saga.sagaId)) ?? assert.fail("it is not there")
          const { openedAt, updatedAt, ...rest } = found
          assert.deepStrictEqual(
            { ...rest },
            {
              ...saga,
              owner: T,
              status: "running",
              outcome: null,
              problem: null,
              result: null,
              records: [started(0), done(0), started(1)]
            }
          )
          assert.isTrue(DateTime.isLessThanOrEqualTo(openedAt, updatedAt))
          assert.isUndefined(yield* journal.get("nobody"))
        })
      )

      test.effect("gives back every call's input, be it the payload, an earlier call's, or almost so", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const doc = () => ({ id: "1", body: "b".repeat(300), at: [1, 2.5, null], in: { a: 1, b: "ü" } })
          const saga = sagaOn([own("r")], { payload: doc() })
          const begun = (call: number, input: unknown): JournalRecord => Object.assign({}, started(call), { input })
          const other = () => ({ ...doc(), body: "c".repeat(300) })
          const inputs = [
            doc(),
            { ...doc(), at: [1, 2.5] },
            { ...doc(), in: { a: 1, b: "u" } },
            { in: doc().in, at: doc().at, body: doc().body, id: "1" },
            other(),
            doc(),
            other(),
            null,
            other(),
            "b".repeat(300)
          ]
          const records = inputs.map((input, call) => begun(call, input))
          const [first = started(0), ...rest] = records
          yield* journal.open(saga, [first])
          for (const record of rest) yield* journal.append(saga, T, [record])
          assert.deepStrictEqual((yield* journal.get(saga.sagaId))?.records, records)
        })
      )

      test.effect("knows no input of records that were not written", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const saga = sagaOn([own("r")])
          const input = { body: "b".repeat(300) }
          const begun = (call: number): JournalRecord => Object.assign({}, started(call), { input })
          yield* journal.open(saga, [started(0)])
          // It is open already.
          yield* journal.open(saga, [begun(1)])
          assert.isFalse(yield* journal.append(saga, T + 1, [begun(2)]))
          yield* journal.append(saga, T, [begun(3)])
          yield* journal.close(saga, T, [begun(4)], undone)
          assert.deepStrictEqual((yield* journal.get(saga.sagaId))?.records, [started(0), begun(3), begun(4)])
        })
      )

      test.effect("opens one of many sagas on a resource, and tells the others of it", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const resource = own("r")
          const sagas = Array.from({ length: 20 }, (_, i) => sagaOn([resource, own("r")], { fence: T + i }))
          const answers = yield* Effect.forEach(sagas, (saga) => journal.open(saga), { concurrency: "unbounded" })
          const opened = sagas.filter((_, i) => answers[i]?.length === 0)
          assert.strictEqual(opened.length, 1)
          for (const inTheWay of answers) {
            if (inTheWay.length > 0) assert.deepStrictEqual(ids(inTheWay), ids(opened))
          }
        })
      )

      test.effect("tells of all that are in the way, highest fence first, and takes no resource then", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const [a, b, c] = [own("r"), own("r"), own("r")]
          const low = sagaOn([a], { fence: T })
          const high = sagaOn([b], { fence: T + 9 })
          yield* journal.open(low)
          yield* journal.open(high)
          assert.deepStrictEqual(ids(yield* journal.open(sagaOn([a, b, c]))), [high.sagaId, low.sagaId])
          assert.deepStrictEqual(yield* journal.open(sagaOn([c])), [])
        })
      )

      test.effect("opens again what is open", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const saga = sagaOn([own("r")])
          yield* journal.open(saga)
          yield* journal.append(saga, T, [started(0)])
          assert.deepStrictEqual(yield* journal.open(saga), [])
          assert.strictEqual((yield* journal.get(saga.sagaId))?.records.length, 1)
        })
      )

      test.effect("refuses whoever does not own it", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const saga = sagaOn([own("r")])
          yield* journal.open(saga)
          assert.isFalse(yield* journal.append(saga, T + 1, [started(0)]))
          assert.isFalse(yield* journal.close(saga, T - 1, [], undone))
          assert.isFalse(yield* journal.append({ ...saga, sagaId: "nobody" }, T, [started(0)]))
          assert.isFalse(yield* journal.claim(saga, T + 1, T + 2))
          assert.isFalse(yield* journal.claim(saga, T, T), "owners only rise")
          const found = yield* journal.get(saga.sagaId)
          assert.deepStrictEqual([found?.owner, found?.status, found?.records], [T, "running", []])
        })
      )

      test.effect("passes to one of those who claim it, and from then on refuses the old owner", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const saga = sagaOn([own("r")])
          yield* journal.open(saga)
          const claims = yield* Effect.forEach([1, 2, 3, 4], (i) => journal.claim(saga, T, T + i), {
            concurrency: "unbounded"
          })
          assert.strictEqual(claims.filter(Boolean).length, 1)
          assert.isFalse(yield* journal.append(saga, T, [started(0)]))
          assert.isTrue(yield* journal.append(saga, T + 1 + claims.indexOf(true), [started(0)]))
        })
      )

      test.effect("takes nothing from the old owner after a claim, however they race", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          for (let round = 0; round < 20; round++) {
            const saga = sagaOn([own("r")])
            yield* journal.open(saga)
            const append = (call: number) => journal.append(saga, T, [started(call)])
            const claimed = Effect.flatMap(journal.claim(saga, T, T + 1), () => journal.get(saga.sagaId))
            const [, , seen] = yield* Effect.all([append(0), append(1), claimed, append(2)], {
              concurrency: "unbounded"
            })
            const last = yield* journal.get(saga.sagaId)
            assert.deepStrictEqual(last?.records, seen?.records, "what the claimer saw is all there is")
          }
        })
      )

      test.effect("is compensating once undoing was written", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const saga = sagaOn([own("r")])
          yield* journal.open(saga)
          yield* journal.append(saga, T, [started(0), { _tag: "Undoing" }])
          assert.strictEqual((yield* journal.get(saga.sagaId))?.status, "compensating")
        })
      )

      test.effect("keeps its problem and its age while it changes hands, and its result as it is", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const saga = sagaOn([own("r")])
          yield* journal.open(saga)
          const opened = yield* journal.get(saga.sagaId)
          const problem = "1 running\n\n2 finished undone\n"
          yield* journal.note(saga, "an older problem")
          yield* journal.note(saga, problem)
          assert.isTrue(yield* journal.claim(saga, T, T + 1))
          assert.isTrue(yield* journal.append(saga, T + 1, [{ _tag: "Undoing" }]))
          const passed = yield* journal.get(saga.sagaId)
          assert.deepStrictEqual(
            [passed?.owner, passed?.status, passed?.problem, passed?.result, passed?.openedAt],
            [T + 1, "compensating", problem, null, opened?.openedAt]
          )
          const result = "\n1 running 2\n3\n"
          assert.isTrue(yield* journal.close(saga, T + 1, [], { outcome: "parked", result }))
          assert.isTrue(yield* journal.close(saga, T + 1, [], { outcome: "parked", result }))
          assert.isFalse(yield* journal.close(saga, T + 1, [], undone))
          const ended = yield* journal.get(saga.sagaId)
          assert.deepStrictEqual(
            [ended?.owner, ended?.outcome, ended?.problem, ended?.result, ended?.openedAt],
            [T + 1, "parked", null, result, opened?.openedAt]
          )
          if (ended === undefined || opened === undefined) return assert.fail("it is kept")
          assert.isFalse(DateTime.isLessThan(ended.updatedAt, opened.updatedAt))
        })
      )

      test.effect("frees the resources when it ends, ends once, and says so again", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const resources = [own("r"), own("r")]
          const saga = sagaOn(resources)
          yield* journal.open(saga)
          yield* journal.note(saga, "stuck for now")
          const end = { outcome: "succeeded", result: '{"ok":1}' } as const
          assert.isTrue(yield* journal.close(saga, T, [done(0)], end))
          assert.isTrue(yield* journal.close(saga, T, [done(0)], end), "the reply was lost")
          assert.isFalse(yield* journal.close(saga, T, [], undone))
          assert.isFalse(yield* journal.append(saga, T, [started(1)]))
          assert.isFalse(yield* journal.claim(saga, T, T + 1))
          yield* journal.note(saga, "too late")
          const ended = yield* journal.get(saga.sagaId)
          assert.deepStrictEqual(
            [ended?.status, ended?.outcome, ended?.result, ended?.problem, ended?.records],
            ["finished", "succeeded", '{"ok":1}', null, [done(0)]]
          )
          assert.deepStrictEqual(yield* journal.open(sagaOn(resources)), [])
        })
      )

      test.effect("lists by status, resource, saga and age, oldest first, page by page", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const name = own("Saga")
          const sagas = Array.from({ length: 5 }, () => sagaOn([own("r")], { saga: name }))
          for (const saga of sagas) yield* journal.open(saga)
          const [first = sagaOn([]), second = sagaOn([]), third = sagaOn([])] = sagas
          yield* journal.close(first, T, [], undone)
          yield* journal.append(second, T, [{ _tag: "Undoing" }])
          yield* journal.note(third, "unknown version")
          const list = (filter: Parameters<typeof journal.list>[0]) =>
            Effect.map(journal.list({ saga: name, ...filter }), ids)
          assert.deepStrictEqual(yield* list({}), ids(sagas))
          assert.deepStrictEqual(yield* list({ status: "finished" }), [first.sagaId])
          assert.deepStrictEqual(yield* list({ status: "compensating" }), [second.sagaId])
          assert.deepStrictEqual(yield* list({ status: "stuck" }), [third.sagaId])
          assert.deepStrictEqual(yield* list({ status: "running" }), ids(sagas.slice(2)))
          assert.deepStrictEqual(yield* list({ resource: second.resources[0] ?? "" }), [second.sagaId])
          assert.deepStrictEqual(yield* list({ limit: 2 }), ids(sagas.slice(0, 2)))
          assert.deepStrictEqual(yield* list({ limit: 2, after: second.sagaId }), ids(sagas.slice(2, 4)))
          assert.deepStrictEqual(yield* list({ before: DateTime.makeUnsafe("2001-01-01T00:00:00Z") }), [])
          const now = DateTime.addDuration(yield* DateTime.now, "1 minute")
          assert.deepStrictEqual(yield* list({ before: now, status: "running" }), ids(sagas.slice(2)))
        })
      )

      test.effect("purges what finished before, and nothing else", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const [open, finished] = [sagaOn([own("r")]), sagaOn([own("r")])]
          yield* journal.open(open)
          yield* journal.open(finished)
          yield* journal.close(finished, T, [started(0)], undone)
          assert.strictEqual(yield* journal.purge(DateTime.makeUnsafe("2001-01-01T00:00:00Z")), 0)
          const soon = DateTime.addDuration(yield* DateTime.now, "1 minute")
          assert.isAtLeast(yield* journal.purge(soon), 1)
          assert.isUndefined(yield* journal.get(finished.sagaId))
          assert.isDefined(yield* journal.get(open.sagaId))
        })
      )

      test.effect("bears what JSON has and a database may not: NUL and half a character", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const odd = { nul: "a\u0000b", half: "\ud800", "~json": "1" }
          const saga = sagaOn([own("r")], { payload: odd })
          const records: ReadonlyArray<JournalRecord> = [
            {
              _tag: "Started",
              call: 0,
              parent: null,
              kind: "undoable",
              path: "a",
              fence: T,
              input: odd,
              before: [odd]
            },
            { _tag: "Done", call: 0, finished: 0, output: odd.nul },
            { _tag: "Failed", call: 0, untouched: false, error: odd }
          ]
          yield* journal.open(saga)
          yield* journal.append(saga, T, records)
          const found = yield* journal.get(saga.sagaId)
          assert.deepStrictEqual([found?.payload, found?.records], [odd, records])
        })
      )

      test.effect("bears a payload of a megabyte", () =>
        Effect.gen(function* () {
          const journal = yield* SagaJournal
          const saga = sagaOn([own("r")], { payload: "ü".repeat(512 * 1024) })
          yield* journal.open(saga)
          assert.deepStrictEqual((yield* journal.get(saga.sagaId))?.payload, saga.payload)
        })
      )
    })
  })
