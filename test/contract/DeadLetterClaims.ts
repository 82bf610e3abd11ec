/** How every dead-letter queue gives its entries to those who redrive them. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, type Layer } from "effect"
import { type DeadLetter, type DeadLetterError, DeadLetterQueue } from "effect-saga"
import { entry } from "./DeadLetterQueueContract.ts"

let names = 0
/** Of this test alone: the others' entries are not claimed. */
const own = () => `Claims-${process.pid}-${++names}`
const later = DateTime.makeUnsafe("2100-01-01T00:00:00Z")
const past = DateTime.makeUnsafe("2020-01-01T00:00:00Z")
const reason = (effect: Effect.Effect<unknown, DeadLetterError, DeadLetterQueue>) =>
  Effect.map(Effect.flip(effect), (error) => error.reason)

/** `many`: how many entries 8 claimers share. */
export const deadLetterClaims = (name: string, layer: Layer.Layer<DeadLetterQueue>, many = 200) =>
  describe(`claims of a DeadLetterQueue: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true, timeout: 60_000 })((test) => {
      test.effect("gives an entry to one of two who claim it", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const id = yield* queue.add(entry({ resources: [own()] }))
          const claims = yield* Effect.all([queue.claim(id, later), queue.claim(id, later)], { concurrency: 2 })
          assert.strictEqual(claims.filter((claim) => claim !== undefined).length, 1)
          const letter = yield* queue.get(id)
          assert.deepStrictEqual([letter.status, letter.retryCount], ["retrying", 1])
        })
      )

      test.effect("gives it to the next when the claim has ended", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const id = yield* queue.add(entry({ resources: [own()] }))
          const first = yield* queue.claim(id, past)
          const second = yield* queue.claim(id, later)
          assert.deepStrictEqual([first?.retryCount, second?.retryCount], [1, 2])
        })
      )

      test.effect("counts a failed try, keeps the first error, and shows the latest", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const id = yield* queue.add(entry({ resources: [own()] }))
          const claimed = yield* queue.claim(id, later)
          if (claimed === undefined) return assert.fail("not claimed")
          yield* queue.release(claimed, { dueAt: later, counts: true, error: { type: "Down", message: "again" } })
          const letter = yield* queue.get(id)
          assert.deepStrictEqual(
            [letter.status, letter.retryCount, letter.errorType, letter.errorMessage],
            ["pending", 1, "Down", "again"]
          )
          assert.isTrue(DateTime.Equivalence(letter.dueAt, later))
          assert.deepInclude(letter.metadata, { attempts: 4, firstError: { type: "Refused", message: "no" } })
        })
      )

      test.effect("does not count what was no try, and says why an entry cannot be run", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const id = yield* queue.add(entry({ resources: [own()] }))
          const claimed = yield* queue.claim(id, later)
          if (claimed === undefined) return assert.fail("not claimed")
          yield* queue.release(claimed, { dueAt: past, counts: false, problem: "unknown version" })
          const letter = yield* queue.get(id)
          assert.deepStrictEqual([letter.status, letter.retryCount, letter.problem], ["pending", 0, "unknown version"])
        })
      )

      test.effect("keeps the first of many errors, whatever their messages hold", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const id = yield* queue.add(entry({ resources: [own()], metadata: { records: ["\u0000"] } }))
          for (const message of ["second", "third \u0000"]) {
            const claimed = yield* queue.claim(id, later)
            if (claimed === undefined) return assert.fail("not claimed")
            yield* queue.release(claimed, { dueAt: past, counts: true, error: { type: "Down", message } })
          }
          const letter = yield* queue.get(id)
          assert.match(letter.errorMessage, /^third .$/)
          assert.deepStrictEqual(letter.metadata, {
            records: ["\u0000"],
            firstError: { type: "Refused", message: "no" }
          })
        })
      )

      test.effect("gives an entry with a problem to nobody before it is due again", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const saga = own()
          const id = yield* queue.add(entry({ saga, resources: [own()] }))
          const claim = queue.claimDue({ sagas: [saga], limit: 1, until: later })
          const release = (dueAt: DateTime.Utc) =>
            Effect.flatMap(queue.claim(id, later), (claimed) =>
              claimed === undefined
                ? Effect.void
                : queue.release(claimed, { dueAt, counts: false, problem: "unknown version" })
            )
          yield* release(later)
          assert.deepStrictEqual(yield* claim, [])
          yield* release(past)
          assert.deepStrictEqual(
            (yield* claim).map((letter) => [letter.id, letter.retryCount]),
            [[id, 1]]
          )
        })
      )

      test.effect("ignores who gives back a claim that is another's by now", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const id = yield* queue.add(entry({ resources: [own()] }))
          const stale = yield* queue.claim(id, past)
          yield* queue.claim(id, later)
          if (stale === undefined) return assert.fail("not claimed")
          yield* queue.release(stale, { dueAt: past, counts: false })
          const letter = yield* queue.get(id)
          assert.deepStrictEqual([letter.status, letter.retryCount], ["retrying", 2])
        })
      )

      test.effect("lets the newest of a database and resource go first", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const [saga, resource] = [own(), own()]
          const add = (fence: number, call: number, changes = {}) =>
            queue.add(entry({ saga, resources: [resource, own()], fence, call, ...changes }))
          const older = yield* add(5, 7)
          const newer = yield* add(6, 0)
          const newest = yield* add(6, 1)
          const elsewhere = yield* add(1, 0, { database: "neo4j" })
          assert.deepInclude(yield* reason(queue.claim(older, later)), { _tag: "NotRedrivable" })
          const claim = () => queue.claimDue({ sagas: [saga], limit: 10, until: later })
          const ids = (letters: ReadonlyArray<DeadLetter>) => letters.map(({ id }) => id).sort()
          assert.deepStrictEqual(ids(yield* claim()), [elsewhere, newest].sort())
          yield* queue.resolve(newest, "test", "")
          assert.deepStrictEqual(ids(yield* claim()), [newer])
          yield* queue.resolve(newer, "test", "")
          assert.deepStrictEqual(ids(yield* claim()), [older])
        })
      )

      test.effect("leaves alone what is not due, has no tries left, or is of sagas not asked for", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const saga = own()
          yield* queue.add(entry({ saga, resources: [own()], dueAt: later }))
          yield* queue.add(entry({ saga: own(), resources: [own()] }))
          const tried = yield* queue.add(entry({ saga, resources: [own()] }))
          for (let i = 0; i < 10; i++) yield* queue.claim(tried, past)
          assert.deepStrictEqual(yield* queue.claimDue({ sagas: [saga], limit: 10, until: later }), [])
          assert.strictEqual((yield* queue.get(tried)).status, "retrying", "it stays, and is seen")
        })
      )

      test.effect(`gives each of ${many} entries to one of 8 claimers`, () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const saga = own()
          yield* Effect.forEach(Array.from({ length: many }), () => queue.add(entry({ saga, resources: [own()] })), {
            concurrency: 10,
            discard: true
          })
          const claimer = Effect.gen(function* () {
            const claimed: Array<string> = []
            while (true) {
              const some = yield* queue.claimDue({ sagas: [saga], limit: 7, until: later })
              if (some.length === 0) return claimed
              claimed.push(...some.map(({ id }) => id))
            }
          })
          const all = (yield* Effect.all(
            Array.from({ length: 8 }, () => claimer),
            { concurrency: 8 }
          )).flat()
          assert.strictEqual(all.length, many)
          assert.strictEqual(new Set(all).size, many)
        })
      )

      test.effect("claims nothing that is closed, and purges only that", () =>
        Effect.gen(function* () {
          const queue = yield* DeadLetterQueue
          const open = yield* queue.add(entry({ resources: [own()] }))
          const closed = yield* queue.add(entry({ resources: [own()] }))
          yield* queue.resolve(closed, "test", "done by hand")
          assert.deepInclude(yield* reason(queue.claim(closed, later)), {
            _tag: "NotRedrivable",
            problem: "it is resolved already"
          })
          assert.deepInclude(yield* reason(queue.claim("00000000-0000-8000-8000-000000000000", later)), {
            _tag: "NotFound"
          })
          assert.strictEqual(yield* queue.purge(past), 0)
          assert.isAtLeast(yield* queue.purge(later), 1)
          assert.deepInclude(yield* reason(queue.get(closed)), { _tag: "NotFound" })
          assert.strictEqual((yield* queue.get(open)).status, "pending")
          assert.isTrue(yield* queue.drained)
        })
      )
    })
  })
