/** How every idempotency store admits and ends: marks, late owners, successors, repeated and lost questions. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { type Begun, Idempotency } from "effect-saga"
import {
  again,
  callers,
  derived,
  fence,
  fresh,
  leaseOf,
  nothing,
  reasonOf,
  result,
  serve,
  textOf
} from "./IdempotencyRequests.ts"

const found = (begun: Begun) =>
  begun._tag === "Admitted" ? begun.abandoned.map(({ sagaId }) => sagaId).sort() : [begun.result]

export const idempotencyEnds = (name: string, layer: Layer.Layer<Idempotency, unknown>) =>
  describe(`ends of Idempotency: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true, timeout: 60_000 })((test) => {
      test.effect("refuses the end of who was superseded, and leaves the successor's record alone", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          for (const key of [{}, { derived: false }]) {
            const stale = derived(key)
            const [before, after] = [leaseOf(stale), leaseOf(stale)]
            const next = again(stale)
            yield* idempotency.begin(stale, before)
            yield* idempotency.begin(next, after)
            assert.strictEqual(yield* reasonOf(idempotency.end(stale, before, result("stale"))), "LockLost")
            yield* idempotency.end(next, after, result("next"))
            assert.strictEqual(yield* reasonOf(idempotency.end(stale, before, result("stale"))), "LockLost")
            assert.strictEqual(yield* reasonOf(idempotency.end(stale, before, nothing)), "LockLost")
            assert.strictEqual(yield* idempotency.lookup(next), textOf("next"))
          }
        })
      )

      test.effect("refuses the end of who was never admitted", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          for (const one of [derived(), callers()]) {
            assert.strictEqual(yield* reasonOf(idempotency.end(one, leaseOf(one), result("one"))), "LockLost")
            assert.isUndefined(yield* idempotency.lookup(one))
          }
        })
      )

      test.effect("refuses the end of who lost one of several resources", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const one = derived({ resources: [fresh("a"), fresh("b"), fresh("c")] })
          const lease = leaseOf(one)
          yield* idempotency.begin(one, lease)
          yield* serve(derived({ resources: one.resources.slice(2) }), nothing)
          assert.strictEqual(yield* reasonOf(idempotency.end(one, lease, result("one"))), "LockLost")
          assert.isFalse(yield* idempotency.ended(one))
        })
      )

      test.effect("ends once however often it is asked, even after a successor was admitted", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          for (const one of [derived(), callers()]) {
            const lease = leaseOf(one)
            yield* idempotency.begin(one, lease)
            for (let i = 0; i < 3; i++) yield* idempotency.end(one, lease, result("one"))
            assert.strictEqual(yield* idempotency.lookup(one), textOf("one"))
            const next = derived({ resources: one.resources })
            yield* idempotency.begin(next, leaseOf(next))
            yield* idempotency.end(one, lease, result("one"))
            assert.deepStrictEqual(
              found(yield* idempotency.begin(derived({ resources: one.resources }), leaseOf(one))),
              [next.sagaId]
            )
          }
        })
      )

      test.effect("tells whether this very saga's end is stored", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          for (const one of [derived(), callers()]) {
            const lease = leaseOf(one)
            assert.isFalse(yield* idempotency.ended(one))
            yield* idempotency.begin(one, lease)
            assert.isFalse(yield* idempotency.ended(one))
            yield* idempotency.end(one, lease, result("one"))
            assert.isTrue(yield* idempotency.ended(one))
            assert.isFalse(yield* idempotency.ended(again(one)))
          }
        })
      )

      test.effect("admits one saga again as the same: its second begin changes nothing", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const one = callers()
          const lease = leaseOf(one)
          for (let i = 0; i < 3; i++) assert.deepStrictEqual(found(yield* idempotency.begin(one, lease)), [])
          yield* idempotency.end(one, lease, result("one"))
          assert.deepStrictEqual(
            found(yield* idempotency.begin(derived({ resources: one.resources }), leaseOf(one))),
            []
          )
        })
      )

      test.effect("reports who was admitted and never ended, once, with all that its mark says", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const dead = derived({ resources: [fresh("a"), fresh("b"), fresh("c")], journaled: true })
          const lease = leaseOf(dead)
          yield* idempotency.begin(dead, lease)
          const next = derived({ resources: dead.resources })
          const begun = yield* idempotency.begin(next, leaseOf(next))
          const { resources, saga, sagaId } = dead
          assert.deepStrictEqual(begun, {
            _tag: "Admitted",
            abandoned: [{ saga, sagaId, fence: lease.fence, resources, journaled: true }]
          })
        })
      )

      test.effect("reports a dead owner again to who asks again, and to the next if the first dies too", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const dead = derived()
          yield* idempotency.begin(dead, leaseOf(dead))
          const second = derived({ resources: dead.resources })
          const lease = leaseOf(second)
          for (let i = 0; i < 2; i++)
            assert.deepStrictEqual(found(yield* idempotency.begin(second, lease)), [dead.sagaId])
          const third = derived({ resources: dead.resources })
          assert.deepStrictEqual(
            found(yield* idempotency.begin(third, leaseOf(third))),
            [dead.sagaId, second.sagaId].sort()
          )
        })
      )

      test.effect("has dealt with the dead once a saga succeeded, and not while they fail", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const dead = derived()
          yield* idempotency.begin(dead, leaseOf(dead))
          const next = () => derived({ resources: dead.resources })
          yield* serve(next(), nothing)
          const one = next()
          const lease = leaseOf(one)
          assert.deepStrictEqual(found(yield* idempotency.begin(one, lease)), [dead.sagaId])
          yield* idempotency.end(one, lease, result("one"))
          assert.deepStrictEqual(found(yield* idempotency.begin(next(), leaseOf(one))), [])
        })
      )

      test.effect("leaves no mark of who ended, however it ended", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          for (const ending of [result("one"), { _tag: "Served" } as const, nothing]) {
            for (const replay of [true, false]) {
              const one = callers({ resources: [fresh("a"), fresh("b")], replay })
              yield* serve(one, ending)
              assert.deepStrictEqual(
                found(yield* idempotency.begin(derived({ resources: one.resources }), leaseOf(one))),
                []
              )
            }
          }
        })
      )

      test.effect("without exclusion leaves no mark, reports none, and takes none away", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const dead = derived()
          yield* idempotency.begin(dead, leaseOf(dead))
          const free = derived({ resources: dead.resources })
          const lease = leaseOf(free, fence(), false)
          assert.deepStrictEqual(found(yield* idempotency.begin(free, lease)), [])
          yield* idempotency.end(free, lease, result("free"))
          assert.deepStrictEqual(
            found(yield* idempotency.begin(derived({ resources: dead.resources }), leaseOf(dead))),
            [dead.sagaId]
          )
        })
      )

      test.effect("lets one of many that begin at once end: the one with the highest fence", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const resources = [fresh("resource")]
          const rivals = Array.from({ length: 20 }, () => derived({ resources })).map((one) => ({
            one,
            lease: leaseOf(one)
          }))
          yield* Effect.forEach(
            rivals.toSorted((a, b) => a.one.key.localeCompare(b.one.key)).reverse(),
            ({ lease, one }) => Effect.ignore(idempotency.begin(one, lease)),
            { concurrency: "unbounded" }
          )
          const ends = yield* Effect.forEach(
            rivals,
            ({ lease, one }) => reasonOf(idempotency.end(one, lease, result("one"))),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(ends, [...Array.from({ length: 19 }, () => "LockLost"), "Success"])
        })
      )

      test.effect("ends a saga whose owner is gone by its fence alone", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const dead = callers()
          const lease = leaseOf(dead)
          yield* idempotency.begin(dead, lease)
          yield* idempotency.end(dead, { fence: lease.fence }, result("recovered"))
          assert.strictEqual(yield* idempotency.lookup(again(dead)), textOf("recovered"))
          assert.deepStrictEqual(
            found(yield* idempotency.begin(derived({ resources: dead.resources }), leaseOf(dead))),
            []
          )
        })
      )
    })
  })
