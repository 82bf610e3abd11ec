/** What every journal does when it is asked much at once, or asked again. */
import { assert, type it } from "@effect/vitest"
import { DateTime, Effect } from "effect"
import { type JournalRecord, SagaJournal } from "effect-saga"
import { done, own, sagaOn, started, T } from "./SagaJournalContract.ts"

export const sagaJournalRaces = (test: Pick<typeof it, "effect">): void => {
  test.effect("opens one saga once, however often it is asked to at once", () =>
    Effect.gen(function* () {
      const journal = yield* SagaJournal
      for (let round = 0; round < 10; round++) {
        const saga = sagaOn([own("r"), own("r")])
        const answers = yield* Effect.all(
          Array.from({ length: 8 }, () => journal.open(saga)),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(answers, Array(8).fill([]))
        assert.isTrue(yield* journal.append(saga, T, [started(0)]))
        assert.strictEqual((yield* journal.open(sagaOn(saga.resources))).length, 1)
      }
    })
  )

  test.effect("opens a saga that names a resource twice", () =>
    Effect.gen(function* () {
      const journal = yield* SagaJournal
      const [a, b] = [own("r"), own("r")]
      assert.deepStrictEqual(yield* journal.open(sagaOn([a, b, a])), [])
      assert.strictEqual((yield* journal.open(sagaOn([b]))).length, 1)
    })
  )

  test.effect("admits to overlapping resources without two ever sharing one, in whatever order they are named", () =>
    Effect.gen(function* () {
      const journal = yield* SagaJournal
      const names = Array.from({ length: 4 }, () => own("r"))
      const pair = (i: number) => [names[i % 4] ?? "", names[(i * 3 + 1) % 4] ?? ""]
      const sagas = Array.from({ length: 40 }, (_, i) => sagaOn(pair(i), { fence: T + i }))
      const answers = yield* Effect.forEach(sagas, (saga) => journal.open(saga), { concurrency: "unbounded" })
      const opened = sagas.filter((_, i) => answers[i]?.length === 0)
      assert.isNotEmpty(opened)
      const taken = opened.flatMap(({ resources }) => [...new Set(resources)])
      assert.strictEqual(new Set(taken).size, taken.length)
      const listed = yield* Effect.forEach(names, (resource) => journal.list({ resource }))
      assert.deepStrictEqual(
        new Set(listed.flat().map(({ sagaId }) => sagaId)),
        new Set(opened.map(({ sagaId }) => sagaId))
      )
    })
  )

  test.effect("keeps each of many appends once", () =>
    Effect.gen(function* () {
      const journal = yield* SagaJournal
      const sagas = Array.from({ length: 4 }, () => sagaOn([own("r")]))
      yield* Effect.forEach(sagas, (saga) => journal.open(saga))
      const calls = Array.from({ length: 50 }, (_, call) => call)
      yield* Effect.forEach(
        sagas.flatMap((saga) => calls.map((call) => journal.append(saga, T, [started(call), done(call)]))),
        (append) => Effect.map(append, (written) => assert.isTrue(written)),
        { concurrency: "unbounded" }
      )
      for (const saga of sagas) {
        const records = (yield* journal.get(saga.sagaId))?.records ?? []
        assert.strictEqual(records.length, 100)
        const written = records.flatMap((record) => (record._tag === "Started" ? [record.call] : []))
        assert.deepStrictEqual(
          written.toSorted((a, b) => a - b),
          calls
        )
        // What was appended together stays together.
        for (let i = 0; i < records.length; i += 2) assert.deepStrictEqual(records[i + 1], done(written[i / 2] ?? -1))
      }
    })
  )

  test.effect("answers each of many that are asked at once by itself, whatever they ask", () =>
    Effect.gen(function* () {
      const journal = yield* SagaJournal
      const end = { outcome: "undone", result: null } as const
      const [held, appended, closed, refused] = yield* Effect.forEach(["held", "appended", "closed", "refused"], () =>
        Effect.forEach(Array.from({ length: 6 }), () => {
          const saga = sagaOn([own("r")])
          return Effect.as(journal.open(saga), saga)
        })
      )
      if (held === undefined || appended === undefined || closed === undefined || refused === undefined) {
        return assert.fail("four were made")
      }
      const fresh = held.map(() => sagaOn([own("r")]))
      const said: Array<readonly [string, unknown]> = []
      const say = <A, E>(what: string, effect: Effect.Effect<A, E>) =>
        Effect.map(effect, (answer) => void said.push([what, answer]))
      const others = ({ resources }: { readonly resources: ReadonlyArray<string> }) =>
        Effect.map(journal.open(sagaOn(resources)), (found) => found.map(({ sagaId }) => sagaId))
      yield* Effect.all(
        held.flatMap((saga, i) => [
          say(`in the way ${saga.sagaId}`, others(saga)),
          ...[appended[i], closed[i], refused[i], fresh[i]].flatMap((one, kind) =>
            one === undefined
              ? []
              : [
                  [
                    say("appended", journal.append(one, T, [started(i)])),
                    say("closed", journal.close(one, T, [done(i)], end)),
                    say("refused", journal.append(one, T - 1, [started(i)])),
                    say("opened", journal.open(one, [started(i)]))
                  ][kind] ?? Effect.void
                ]
          )
        ]),
        { concurrency: "unbounded" }
      )
      for (const [what, answer] of said) {
        if (what.startsWith("in the way")) assert.deepStrictEqual(answer, [what.slice("in the way ".length)])
        else assert.deepStrictEqual(answer, what === "opened" ? [] : what !== "refused", what)
      }
      const records = (sagas: typeof held) =>
        Effect.forEach(sagas, ({ sagaId }) => Effect.map(journal.get(sagaId), (found) => found?.records))
      assert.deepStrictEqual(
        yield* records(appended),
        appended.map((_, i) => [started(i)])
      )
      assert.deepStrictEqual(
        yield* records(closed),
        closed.map((_, i) => [done(i)])
      )
      assert.deepStrictEqual(
        yield* records(refused),
        refused.map(() => [])
      )
      assert.deepStrictEqual(
        yield* records(fresh),
        fresh.map((_, i) => [started(i)])
      )
      // What was closed among them is in nobody's way.
      assert.deepStrictEqual(yield* Effect.forEach(closed, others), Array(closed.length).fill([]))
    })
  )

  test.effect("ends one way, however many end it at once", () =>
    Effect.gen(function* () {
      const journal = yield* SagaJournal
      for (let round = 0; round < 10; round++) {
        const saga = sagaOn([own("r")])
        yield* journal.open(saga)
        const outcomes = ["succeeded", "undone", "parked"] as const
        const closed = yield* Effect.forEach(
          outcomes,
          (outcome) => journal.close(saga, T, [], { outcome, result: outcome }),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(closed.filter(Boolean).length, 1)
        const ended = yield* journal.get(saga.sagaId)
        assert.deepStrictEqual([ended?.outcome, ended?.result], Array(2).fill(outcomes[closed.indexOf(true)]))
      }
    })
  )

  test.effect("is either closed by its owner or claimed, never both", () =>
    Effect.gen(function* () {
      const journal = yield* SagaJournal
      for (let round = 0; round < 10; round++) {
        const saga = sagaOn([own("r")])
        yield* journal.open(saga)
        const [closed, claimed] = yield* Effect.all(
          [journal.close(saga, T, [], { outcome: "succeeded", result: null }), journal.claim(saga, T, T + 1)],
          { concurrency: "unbounded" }
        )
        assert.notStrictEqual(closed, claimed)
        const found = yield* journal.get(saga.sagaId)
        assert.deepStrictEqual([found?.status, found?.owner], closed ? ["finished", T] : ["running", T + 1])
        // Whoever claimed it is its owner in full.
        if (claimed) assert.isTrue(yield* journal.close(saga, T + 1, [], { outcome: "undone", result: null }))
      }
    })
  )

  test.effect("bears null, unicode and numbers beyond 32 bits in every field of a record", () =>
    Effect.gen(function* () {
      const journal = yield* SagaJournal
      const values = {
        null: null,
        text: "ünï 漢字 🦊 \\ \" '",
        deep: [[null], { "a.b": 0.1 }],
        big: T + 1,
        small: -5e-324
      }
      const fence = T * 4 + 3
      const records: ReadonlyArray<JournalRecord> = [
        { _tag: "Started", call: 0, parent: null, kind: "nested", path: "Ünï/ä", fence, input: values, before: null },
        { _tag: "Started", call: 1, parent: 0, kind: "retriable", path: "", fence, input: null, before: values },
        { _tag: "Done", call: 0, finished: 0, output: values },
        { _tag: "Failed", call: 1, untouched: true, error: null },
        { _tag: "Undoing" },
        { _tag: "Undone", call: 0 },
        { _tag: "Parked", call: 1 }
      ]
      const saga = sagaOn([own("ünï 漢字 🦊")], { fence, payload: null, key: "schlüssel", saga: "Schön" })
      yield* journal.open(saga)
      assert.isFalse(yield* journal.append(saga, fence - 1, records))
      assert.isTrue(yield* journal.append(saga, fence, records))
      assert.isTrue(yield* journal.claim(saga, fence, fence + 1))
      yield* journal.note(saga, "warum \u0000 nicht")
      const found = yield* journal.get(saga.sagaId)
      assert.deepStrictEqual(found?.records, records)
      assert.deepStrictEqual([found?.fence, found?.owner, found?.payload], [fence, fence + 1, null])
      assert.match(found?.problem ?? "", /^warum .* nicht$/s)
      assert.deepStrictEqual(found?.resources, saga.resources)
      // Empty and odd lists are lists.
      assert.isTrue(yield* journal.append(saga, fence + 1, []))
      assert.strictEqual((yield* journal.get(saga.sagaId))?.records.length, records.length)
    })
  )

  test.effect("lists on from a saga that has ended meanwhile, and lists stuck ones of one resource", () =>
    Effect.gen(function* () {
      const journal = yield* SagaJournal
      const name = own("Saga")
      const sagas = Array.from({ length: 3 }, () => sagaOn([own("r"), own("r")], { saga: name }))
      for (const saga of sagas) {
        yield* journal.open(saga)
        // Of one millisecond the id decides.
        yield* Effect.sleep("2 millis")
      }
      const [first = sagaOn([]), second = sagaOn([]), third = sagaOn([])] = sagas
      yield* journal.close(first, T, [], { outcome: "undone", result: null })
      const rest = yield* journal.list({ saga: name, status: "running", after: first.sagaId })
      assert.deepStrictEqual(
        rest.map(({ sagaId }) => sagaId),
        [second.sagaId, third.sagaId]
      )
      yield* journal.note(second, "no process knows it")
      for (const [saga, stuck] of [
        [second, 1],
        [third, 0]
      ] as const) {
        const found = yield* journal.list({ status: "stuck", resource: saga.resources[1] ?? "" })
        assert.strictEqual(found.length, stuck)
      }
      const [entry] = yield* journal.list({ saga: name, status: "stuck" })
      assert.strictEqual(entry?.problem, "no process knows it")
      const opened = DateTime.toEpochMillis(entry?.openedAt ?? DateTime.makeUnsafe(0))
      const before = DateTime.makeUnsafe(opened)
      const older = yield* journal.list({ saga: name, before })
      assert.notInclude(
        older.map(({ sagaId }) => sagaId),
        third.sagaId
      )
    })
  )
}
