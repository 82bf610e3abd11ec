/** What every guard does for those who wait, and for those who no longer do. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, type Layer } from "effect"
import { type Ending, type IdempotencyRequest, SagaGuard } from "effect-saga"
import { fresh, request, result, serve } from "./SagaGuardRequests.ts"

/** Is admitted, and stays so while `use` runs; what it gives may go on afterwards. */
const holding = <A, E, R>(
  asked: IdempotencyRequest,
  use: (commit: (ending: Ending) => Effect.Effect<unknown, unknown>) => Effect.Effect<A, E, R>
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const admission = yield* (yield* SagaGuard).enter(asked)
      return admission._tag === "Admitted" ? yield* use(admission.commit) : assert.fail("not admitted")
    })
  )

const reasonOf = (error: { readonly _tag: string; readonly reason?: { readonly _tag: string } }) =>
  error.reason?._tag ?? error._tag

export const sagaGuardWaiting = (name: string, layer: Layer.Layer<SagaGuard, unknown>) =>
  describe(`SagaGuard: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true, timeout: 60_000 })((test) => {
      test.effect("serves a recorded result while another holds the resource", () =>
        Effect.gen(function* () {
          const asked = request({ derived: false })
          yield* serve(asked, result("one"))
          yield* holding(request({ resources: asked.resources }), () =>
            Effect.gen(function* () {
              assert.strictEqual(yield* Effect.timeout(serve(asked, result("two")), "2 seconds"), "one")
            })
          )
        })
      )

      test.effect("serves a recorded result while one that does not look for it has its key", () =>
        Effect.gen(function* () {
          const asked = request({ derived: false })
          yield* serve(asked, result("one"))
          yield* holding({ ...asked, replay: false }, () =>
            Effect.gen(function* () {
              assert.strictEqual(yield* Effect.timeout(serve(asked, result("two")), "2 seconds"), "one")
            })
          )
        })
      )

      test.effect("gives each who waits for a key what the record says to it", () =>
        Effect.gen(function* () {
          const asked = request({ derived: false })
          const waiters = yield* holding(asked, (commit) =>
            Effect.gen(function* () {
              const same = yield* Effect.forkChild(serve(asked, result("two")), { startImmediately: true })
              const reused = yield* Effect.forkChild(serve({ ...asked, fingerprint: "another" }, result("three")), {
                startImmediately: true
              })
              yield* Effect.sleep("50 millis")
              yield* commit(result("one"))
              return { same, reused }
            })
          )
          assert.strictEqual(yield* Fiber.join(waiters.same), "one")
          assert.strictEqual(reasonOf(yield* Effect.flip(Fiber.join(waiters.reused))), "KeyReused")
        })
      )

      test.effect("tells those who wait with a caller's key that its result was not kept", () =>
        Effect.gen(function* () {
          const asked = request({ derived: false })
          const waiter = yield* holding(asked, (commit) =>
            Effect.gen(function* () {
              const same = yield* Effect.forkChild(serve(asked, result("two")), { startImmediately: true })
              yield* Effect.sleep("50 millis")
              yield* commit({ _tag: "Served" })
              return same
            })
          )
          assert.strictEqual(reasonOf(yield* Effect.flip(Fiber.join(waiter))), "ResultNotKept")
        })
      )

      test.effect("admits those who wait in the order they came", () =>
        Effect.gen(function* () {
          const asked = request()
          const order: Array<string> = []
          const waiters = yield* holding(asked, () =>
            Effect.gen(function* () {
              const fibers: Array<Fiber.Fiber<void, unknown>> = []
              for (let i = 0; i < 5; i++) {
                // Noted when it is admitted: the next may be served before this one has returned.
                const noted = holding(request({ resources: asked.resources }), () =>
                  Effect.sync(() => void order.push(`${i}`))
                )
                fibers.push(yield* Effect.forkChild(noted, { startImmediately: true }))
                yield* Effect.sleep("10 millis")
              }
              return fibers
            })
          )
          yield* Fiber.joinAll(waiters)
          assert.deepStrictEqual(order, ["0", "1", "2", "3", "4"])
        })
      )

      test.effect("admits to several resources at once or to none", () =>
        Effect.gen(function* () {
          const [a, b] = [fresh("resource"), fresh("resource")]
          const both = yield* holding(request({ resources: [a] }), () =>
            Effect.gen(function* () {
              const waiting = yield* Effect.forkChild(serve(request({ resources: [a, b] }), result("both")), {
                startImmediately: true
              })
              yield* Effect.sleep("50 millis")
              assert.isUndefined(waiting.pollUnsafe())
              return waiting
            })
          )
          assert.strictEqual(yield* Fiber.join(both), "ran")
        })
      )

      test.effect("leaves no mark of a request interrupted while it waits or was admitted", () =>
        Effect.gen(function* () {
          const guard = yield* SagaGuard
          const asked = request()
          const waiting = yield* holding(asked, (commit) =>
            Effect.gen(function* () {
              const one = yield* Effect.forkChild(serve(request({ resources: asked.resources }), result("x")), {
                startImmediately: true
              })
              yield* Effect.sleep("50 millis")
              yield* Fiber.interrupt(one)
              yield* commit({ _tag: "Nothing" })
              return one
            })
          )
          assert.isDefined(waiting.pollUnsafe())
          const entered = yield* Deferred.make<void>()
          const admitted = yield* Effect.forkChild(
            Effect.scoped(
              Effect.andThen(
                guard.enter(request({ resources: asked.resources })),
                Effect.andThen(Deferred.succeed(entered, undefined), Effect.never)
              )
            )
          )
          yield* Deferred.await(entered)
          yield* Fiber.interrupt(admitted)
          const next = yield* Effect.scoped(guard.enter(request({ resources: asked.resources })))
          assert.deepStrictEqual(next._tag === "Admitted" ? next.abandoned : ["replayed"], [])
        })
      )

      test.effect("ends by the fence it was admitted with, whatever was drawn since, and as often as it is asked", () =>
        Effect.gen(function* () {
          const asked = request()
          yield* Effect.scoped(
            Effect.gen(function* () {
              const admission = yield* (yield* SagaGuard).enter(asked)
              if (admission._tag !== "Admitted") return assert.fail("not admitted")
              assert.isAbove(yield* admission.lease.advance(), admission.lease.fence)
              assert.isTrue(yield* admission.commit(result("one")))
              assert.isTrue(yield* admission.commit(result("one")))
            })
          )
          assert.strictEqual(yield* serve(asked, result("two")), "one")
        })
      )
    })
  })
