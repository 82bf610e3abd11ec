/** What every guard does: admission, replay, and the rules of keys. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, type Layer } from "effect"
import { SagaGuard } from "effect-saga"
import { fresh, request, result, serve } from "./SagaGuardRequests.ts"
import { sagaGuardWaiting } from "./SagaGuardWaiting.ts"

export const sagaGuardContract = (name: string, layer: Layer.Layer<SagaGuard, unknown>) => {
  sagaGuardWaiting(name, layer)
  describe(`SagaGuard: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true, timeout: 60_000 })((test) => {
      test.effect("replays a recorded result", () =>
        Effect.gen(function* () {
          const asked = request()
          assert.strictEqual(yield* serve(asked, result("one")), "ran")
          assert.strictEqual(yield* serve(asked, result("two")), "one")
        })
      )

      test.effect("records nothing for a failure, so that a repeat runs", () =>
        Effect.gen(function* () {
          const asked = request()
          assert.strictEqual(yield* serve(asked, { _tag: "Nothing" }), "ran")
          assert.strictEqual(yield* serve(asked, result("one")), "ran")
        })
      )

      test.effect("admits one of many at once, and gives the others its result", () =>
        Effect.gen(function* () {
          const asked = request()
          const answers = yield* Effect.all(
            Array.from({ length: 30 }, () => serve(asked, result("one"))),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(answers.filter((answer) => answer === "ran").length, 1)
          assert.strictEqual(answers.filter((answer) => answer === "one").length, 29)
        })
      )

      test.effect("voids a derived key once another saga wrote the resource", () =>
        Effect.gen(function* () {
          const v1 = request()
          const v2 = request({ resources: v1.resources })
          assert.strictEqual(yield* serve(v1, result("v1")), "ran")
          assert.strictEqual(yield* serve(v2, result("v2")), "ran")
          assert.strictEqual(yield* serve(v1, result("v1 again")), "ran")
        })
      )

      test.effect("replays a caller's key whatever was written since", () =>
        Effect.gen(function* () {
          const asked = request({ derived: false })
          yield* serve(asked, result("one"))
          yield* serve(request({ resources: asked.resources }), result("other"))
          assert.strictEqual(yield* serve(asked, result("two")), "one")
        })
      )

      test.effect("refuses a caller's key with another payload, even while the first is in flight", () =>
        Effect.gen(function* () {
          const asked = request({ derived: false })
          const entered = yield* Deferred.make<void>()
          const first = yield* Effect.forkChild(
            Effect.scoped(
              Effect.gen(function* () {
                const admission = yield* (yield* SagaGuard).enter(asked)
                yield* Deferred.succeed(entered, undefined)
                yield* Effect.sleep("50 millis")
                if (admission._tag === "Admitted") yield* admission.commit(result("one"))
              })
            )
          )
          yield* Deferred.await(entered)
          const other = { ...asked, fingerprint: "another", resources: [fresh("resource")] }
          const error = yield* Effect.flip(serve(other, result("two")))
          assert.strictEqual(error._tag, "IdempotencyError")
          if (error._tag === "IdempotencyError") assert.strictEqual(error.reason._tag, "KeyReused")
          yield* Fiber.join(first)
        })
      )

      test.effect("scopes a caller's key to the saga's name", () =>
        Effect.gen(function* () {
          const asked = request({ derived: false })
          yield* serve(asked, result("one"))
          assert.strictEqual(yield* serve({ ...asked, saga: "Other" }, result("two")), "ran")
        })
      )

      test.effect("remembers that a caller's key was served when its result was not kept", () =>
        Effect.gen(function* () {
          const asked = request({ derived: false })
          yield* serve(asked, { _tag: "Served" })
          const error = yield* Effect.flip(serve(asked, result("two")))
          assert.strictEqual(error._tag === "IdempotencyError" ? error.reason._tag : error._tag, "ResultNotKept")
          const derived = request()
          yield* serve(derived, { _tag: "Served" })
          assert.strictEqual(yield* serve(derived, result("two")), "ran")
        })
      )

      test.effect("counts a derived record found unreadable as absent", () =>
        Effect.gen(function* () {
          const asked = request()
          yield* serve(asked, result("garbage"))
          assert.strictEqual(yield* serve({ ...asked, unreadable: "garbage" }, result("good")), "ran")
          assert.strictEqual(yield* serve(asked, result("better")), "good")
        })
      )

      test.effect("reports a saga that left its mark and is gone", () =>
        Effect.gen(function* () {
          const guard = yield* SagaGuard
          const dead = request()
          yield* Effect.scoped(guard.enter(dead))
          const admission = yield* Effect.scoped(guard.enter(request({ resources: dead.resources })))
          assert.strictEqual(admission._tag, "Admitted")
          if (admission._tag !== "Admitted") return
          assert.deepStrictEqual(
            admission.abandoned.map(({ saga, sagaId }) => ({ saga, sagaId })),
            [{ saga: dead.saga, sagaId: dead.sagaId }]
          )
        })
      )

      test.effect("refuses the end of a saga that was superseded", () =>
        Effect.gen(function* () {
          const guard = yield* SagaGuard
          const asked = request()
          const stale = yield* Effect.scoped(guard.enter(asked))
          const later = request({ resources: asked.resources })
          yield* serve(later, result("later"))
          if (stale._tag !== "Admitted") return assert.fail("not admitted")
          const error = yield* Effect.flip(stale.commit(result("stale")))
          assert.strictEqual(error._tag === "LockError" ? error.reason._tag : error._tag, "LockLost")
          assert.strictEqual(yield* serve(later, result("x")), "later")
        })
      )

      test.effect("neither looks up nor records with replay switched off", () =>
        Effect.gen(function* () {
          const asked = request()
          yield* serve(asked, result("one"))
          assert.strictEqual(yield* serve({ ...asked, replay: false }, result("two")), "ran")
        })
      )
    })
  })
}
