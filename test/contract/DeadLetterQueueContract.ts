/** What every dead-letter queue does. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, type Layer } from "effect"
import { DeadLetterQueue, type NewDeadLetter } from "effect-saga"

let sagas = 0
export const entry = (changes: Partial<NewDeadLetter> = {}): NewDeadLetter => ({
  kind: "compensation",
  priority: "high",
  database: "postgres",
  operation: "rollback_delete",
  saga: "Write",
  sagaVersion: 1,
  sagaId: `saga-${process.pid}-${++sagas}`,
  step: "a",
  call: 0,
  resources: ["r1", "r2"],
  fence: 1_795_000_000_123_456,
  input: { text: 'quotes " and \\ and ünïcode' },
  before: null,
  output: [1, 2],
  errorType: "Refused",
  errorMessage: "no",
  metadata: { attempts: 4 },
  dueAt: DateTime.makeUnsafe("2026-01-02T03:04:05.678Z"),
  ...changes
})

export const deadLetterQueueContract = (name: string, layer: Layer.Layer<DeadLetterQueue>) =>
  describe(`DeadLetterQueue: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true, timeout: 60_000 })((test) => {
      test.effect("gives back an entry as it was added, waiting", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const added = entry()
          const { createdAt, id, maxRetries, problem, retryCount, status, ...rest } = yield* queue.get(
            yield* queue.add(added)
          )
          assert.deepStrictEqual({ ...rest }, added)
          assert.deepStrictEqual([status, retryCount, maxRetries, problem], ["pending", 0, 10, null])
          assert.isAbove(DateTime.toEpochMillis(createdAt), 0)
          assert.match(id, /^[0-9a-f-]{36}$/)
        })
      )

      test.effect("gives back what JSON can hold and jsonb cannot, and text that only looks like it", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const strange = [
            "a\u0000b",
            "half \ud83d",
            "\\u0000",
            "\ud83d\ude00",
            { "~json": "1" },
            { k: { "~json": 2 } }
          ]
          for (const value of [...strange, strange]) {
            const added = entry({ input: value, before: value, output: { value }, metadata: { records: [value] } })
            const { before, input, metadata, output } = yield* queue.get(yield* queue.add(added))
            assert.deepStrictEqual(
              { before, input, metadata, output },
              { before: value, input: value, metadata: { records: [value] }, output: { value } }
            )
          }
        })
      )

      test.effect("takes an error whose message no table can hold, and one that is due at no date", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const never = DateTime.makeUnsafe(8.64e15)
          const id = yield* queue.add(entry({ errorMessage: "bytes \u0000 \udc00 end", dueAt: never }))
          const { dueAt, errorMessage } = yield* queue.get(id)
          assert.match(errorMessage, /^bytes . . end$/u)
          assert.isAbove(DateTime.getPartUtc(dueAt, "year"), 9000)
          yield* queue.resolve(id, "a\u0000da", "\ud800")
        })
      )

      test.effect("keeps one entry for one saga, call and kind, however often it is added", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const before = yield* queue.size
          const added = entry()
          const ids = yield* Effect.all(
            Array.from({ length: 20 }, () => queue.add(added)),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(new Set(ids).size, 1)
          assert.strictEqual(yield* queue.size, before + 1)
          yield* queue.add({ ...added, kind: "verify" })
          yield* queue.add({ ...added, call: 1 })
          assert.strictEqual(yield* queue.size, before + 3)
        })
      )

      test.effect("lists by saga, database and status, a page after another", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const saga = `Listed ${process.pid}`
          const ids: Array<string> = []
          for (const database of ["postgres", "neo4j", "postgres"])
            ids.push(yield* queue.add(entry({ saga, database })))
          const idsOf = (filter: Parameters<typeof queue.list>[0]) =>
            Effect.map(queue.list(filter), (letters) => letters.map((letter) => letter.id))
          assert.sameMembers([...(yield* idsOf({ saga }))], ids)
          assert.deepStrictEqual(yield* idsOf({ saga, database: "neo4j" }), [ids[1]])
          const [first = ""] = yield* idsOf({ saga, limit: 1 })
          const rest = yield* idsOf({ saga, after: first })
          assert.sameMembers([first, ...rest], ids)
          assert.deepStrictEqual(yield* idsOf({ saga, status: "resolved" }), [])
        })
      )

      test.effect("closes what waits, once", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const resolved = yield* queue.add(entry())
          const discarded = yield* queue.add(entry())
          const before = yield* queue.stats
          yield* queue.resolve(resolved, "ada", "done by hand")
          yield* queue.discard(discarded, "ada", "of no use")
          const after = yield* queue.stats
          assert.deepStrictEqual(
            [after.pending - before.pending, after.resolved - before.resolved, after.discarded - before.discarded],
            [-2, 1, 1]
          )
          const again = yield* Effect.flip(queue.resolve(resolved, "bob", "again"))
          assert.strictEqual(again.reason._tag, "NotRedrivable")
        })
      )

      test.effect("says which entry it does not have", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          for (const id of ["no uuid", "00000000-0000-8000-8000-000000000000"]) {
            assert.deepStrictEqual((yield* Effect.flip(queue.get(id))).reason, { _tag: "NotFound", id })
          }
        })
      )
    })
  })
