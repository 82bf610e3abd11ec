/** What every idempotency store records and replays. Its marks and ends are in `IdempotencyEnds.ts`. */
import { assert, describe, it } from "@effect/vitest"
import { type Duration, Effect, type Layer, Metric } from "effect"
import { Idempotency, type IdempotencyError } from "effect-saga"
import {
  again,
  callers,
  derived,
  fresh,
  leaseOf,
  nothing,
  reasonOf,
  result,
  serve,
  served,
  textOf
} from "./IdempotencyRequests.ts"

const hits = Effect.map(Metric.snapshot, (all) => {
  const found = all.find((one) => one.id === "idempotent_cache_hits_total")
  return found?.type === "Counter" ? Number(found.state.count) : 0
})

export const idempotencyContract = (
  name: string,
  layer: (timeToLive: Duration.Input) => Layer.Layer<Idempotency, unknown>
) =>
  describe(`Idempotency: ${name}`, () => {
    it.layer(layer("24 hours"), { excludeTestServices: true, timeout: 60_000 })((test) => {
      test.effect("finds nothing for a key that was never served", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          for (const one of [derived(), callers()]) assert.isUndefined(yield* idempotency.lookup(one))
        })
      )

      test.effect("replays a recorded result, to a look and to a second look under the lock", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          for (const one of [derived(), callers()]) {
            assert.strictEqual(yield* serve(one, result("one")), "Admitted")
            assert.strictEqual(yield* idempotency.lookup(again(one)), textOf("one"))
            assert.strictEqual(yield* serve(again(one), result("two")), textOf("one"))
          }
        })
      )

      test.effect("counts each replay as a hit, and nothing else", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const one = callers()
          const before = yield* hits
          yield* serve(one, result("one"))
          yield* reasonOf(idempotency.lookup({ ...one, fingerprint: "another" }))
          assert.strictEqual(yield* hits, before)
          yield* idempotency.lookup(one)
          yield* serve(again(one), result("two"))
          assert.strictEqual(yield* hits, before + 2)
        })
      )

      test.effect("gives back the very text, whatever is in it and however long it is", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          for (const text of ["null", '"ü\\u0000\n"', "{}", `"${"é".repeat(500_000)}"`]) {
            const one = callers()
            yield* serve(one, { _tag: "Result", text })
            assert.strictEqual(yield* idempotency.lookup(one), text)
          }
        })
      )

      test.effect("records nothing for a failure, so that a repeat runs", () =>
        Effect.gen(function* () {
          for (const one of [derived(), callers()]) {
            assert.strictEqual(yield* serve(one, nothing), "Admitted")
            assert.strictEqual(yield* serve(again(one), result("one")), "Admitted")
          }
        })
      )

      test.effect("refuses a caller's key that was used with another payload", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const one = callers()
          yield* serve(one, result("one"))
          const other = { ...again(one), fingerprint: "another" }
          assert.strictEqual(yield* reasonOf(idempotency.lookup(other)), "KeyReused")
          assert.strictEqual(yield* reasonOf(idempotency.begin(other, leaseOf(other))), "KeyReused")
        })
      )

      test.effect("remembers that a caller's key was served whose result was not kept, and by which saga", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const one = callers()
          yield* serve(one, served)
          const error: IdempotencyError = yield* Effect.flip(idempotency.lookup(again(one)))
          assert.strictEqual(error.reason._tag, "ResultNotKept")
          if (error.reason._tag === "ResultNotKept") assert.strictEqual(error.reason.sagaId, one.sagaId)
          assert.strictEqual(yield* reasonOf(idempotency.begin(again(one), leaseOf(one))), "ResultNotKept")
        })
      )

      test.effect("runs a derived key again whose result was not kept", () =>
        Effect.gen(function* () {
          const one = derived()
          yield* serve(one, served)
          assert.strictEqual(yield* serve(again(one), result("two")), "Admitted")
        })
      )

      test.effect("counts a derived record that was found unreadable as absent, and that text alone", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const one = derived()
          yield* serve(one, result("garbage"))
          assert.strictEqual(yield* idempotency.lookup({ ...one, unreadable: "other garbage" }), textOf("garbage"))
          assert.strictEqual(yield* serve({ ...again(one), unreadable: textOf("garbage") }, result("good")), "Admitted")
          assert.strictEqual(yield* idempotency.lookup({ ...one, unreadable: textOf("garbage") }), textOf("good"))
        })
      )

      test.effect("voids a derived record once another saga was admitted, though that one failed", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          for (const ending of [result("v2"), nothing]) {
            const v1 = derived()
            yield* serve(v1, result("v1"))
            yield* serve(derived({ resources: v1.resources }), ending)
            assert.isUndefined(yield* idempotency.lookup(v1))
            assert.strictEqual(yield* serve(again(v1), result("v1 again")), "Admitted")
            assert.strictEqual(yield* idempotency.lookup(v1), textOf("v1 again"))
          }
        })
      )

      test.effect("voids a derived record of several resources by a write of any of them", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const resources = [fresh("a"), fresh("b"), fresh("c")]
          for (const written of resources) {
            const one = derived({ resources })
            yield* serve(one, result("one"))
            assert.strictEqual(yield* idempotency.lookup(one), textOf("one"))
            yield* serve(derived({ resources: [written] }), nothing)
            assert.isUndefined(yield* idempotency.lookup(one), written)
            assert.strictEqual(yield* serve(again(one), nothing), "Admitted")
          }
        })
      )

      test.effect("voids a derived record where a resource has no writer", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const one = derived()
          yield* serve(one, result("one"))
          assert.isUndefined(yield* idempotency.lookup({ ...one, resources: [...one.resources, fresh("z")] }))
        })
      )

      test.effect("replays a caller's key whatever was written since, and whatever the resource", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const one = callers()
          yield* serve(one, result("one"))
          yield* serve(derived({ resources: one.resources }), result("other"))
          assert.strictEqual(yield* idempotency.lookup(again(one)), textOf("one"))
          assert.strictEqual(yield* serve({ ...again(one), resources: [fresh("z")] }, result("two")), textOf("one"))
        })
      )

      test.effect("keeps a caller's key apart from another saga's, and from a derived key of the same text", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const one = callers()
          yield* serve(one, result("one"))
          assert.isUndefined(yield* idempotency.lookup({ ...one, saga: "Other" }))
          assert.isUndefined(yield* idempotency.lookup({ ...one, derived: true }))
          // Neither name nor key can be shifted into the other.
          const shifted = callers({ saga: "a", key: "b,c" })
          yield* serve(shifted, result("one"))
          assert.isUndefined(yield* idempotency.lookup({ ...shifted, saga: "a,b", key: "c" }))
        })
      )

      test.effect("takes 1 to 255 printable characters as a caller's key, and nothing else", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          for (const key of ["", "x".repeat(256), "line\nbreak", "end\n", "ü", "\u0000", "tab\t"]) {
            const one = callers({ key })
            assert.strictEqual(yield* reasonOf(idempotency.lookup(one)), "InvalidKey", JSON.stringify(key))
            assert.strictEqual(yield* reasonOf(idempotency.lookup({ ...one, replay: false })), "InvalidKey")
            assert.strictEqual(yield* reasonOf(idempotency.begin(one, leaseOf(one))), "InvalidKey", JSON.stringify(key))
          }
          for (const key of [`${fresh("key")} ~!{}:"\\`, fresh("x").padEnd(255, "x")]) {
            yield* serve(callers({ key }), result("one"))
            assert.strictEqual(yield* idempotency.lookup(callers({ key })), textOf("one"))
          }
        })
      )

      test.effect("neither looks up nor records with replay switched off, and voids what it overwrites", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const one = derived()
          yield* serve(one, result("one"))
          const off = { ...again(one), replay: false }
          assert.isUndefined(yield* idempotency.lookup(off))
          assert.strictEqual(yield* serve(off, result("two")), "Admitted")
          assert.isUndefined(yield* idempotency.lookup(one))
        })
      )
    })

    it.live("forgets a record when its time is over", () =>
      Effect.gen(function* () {
        const idempotency = yield* Idempotency
        const [one, other] = [callers(), derived()]
        yield* serve(one, result("one"))
        yield* serve(other, result("other"))
        assert.strictEqual(yield* idempotency.lookup(one), textOf("one"))
        assert.strictEqual(yield* idempotency.lookup(other), textOf("other"))
        yield* Effect.sleep("700 millis")
        assert.isUndefined(yield* idempotency.lookup(one))
        assert.isUndefined(yield* idempotency.lookup(other))
        assert.strictEqual(yield* serve(again(one), result("again")), "Admitted")
      }).pipe(Effect.provide(layer("600 millis")))
    )
  })
