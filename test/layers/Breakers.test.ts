import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreakers } from "effect-saga"
import * as Breakers from "../../src/layers/breakers/EffectBreakers.ts"

const fail = Effect.fail("down" as const)
const call = <A, E>(effect: Effect.Effect<A, E>, dependency = "postgres", isFailure?: (error: unknown) => boolean) =>
  Effect.flatMap(CircuitBreakers, (breakers) =>
    effect.pipe(breakers.protect(dependency, isFailure === undefined ? {} : { isFailure }))
  )
const failTimes = (n: number, dependency = "postgres") =>
  Effect.forEach(Array.from({ length: n }), () => Effect.exit(call(fail, dependency)), { discard: true })
const statistics = (dependency = "postgres") =>
  Effect.map(
    Effect.flatMap(CircuitBreakers, (breakers) => breakers.statistics),
    (all) => all.find((one) => one.dependency === dependency)
  )
const state = (dependency?: string) => Effect.map(statistics(dependency), (one) => one?.state._tag)
const reasonOf = <A, E>(effect: Effect.Effect<A, E, CircuitBreakers>) =>
  Effect.map(Effect.flip(effect), (error) =>
    typeof error === "object" &&
    error !== null &&
    "reason" in error &&
    typeof error.reason === "object" &&
    error.reason !== null &&
    "_tag" in error.reason
      ? error.reason._tag
      : error
  )

describe("circuit breakers", () => {
  const test = (name: string, effect: Effect.Effect<void, unknown, CircuitBreakers>) =>
    it.effect(name, () => Effect.provide(effect, Breakers.layerMemory()))

  test(
    "start closed",
    Effect.gen(function* () {
      yield* call(Effect.void)
      assert.strictEqual(yield* state(), "Closed")
    })
  )
  test(
    "stay closed on success, and on many",
    Effect.gen(function* () {
      for (let i = 0; i < 100; i++) yield* call(Effect.void)
      assert.deepStrictEqual([yield* state(), (yield* statistics())?.successes], ["Closed", 100])
    })
  )
  test(
    "stay closed below the threshold",
    Effect.gen(function* () {
      yield* failTimes(4)
      assert.strictEqual(yield* state(), "Closed")
    })
  )
  test(
    "open at five failures; redis and graphiti at three",
    Effect.gen(function* () {
      for (const [dependency, failures] of [
        ["postgres", 5],
        ["neo4j", 5],
        ["qdrant", 5],
        ["redis", 3],
        ["graphiti", 3]
      ] as const) {
        yield* failTimes(failures - 1, dependency)
        assert.strictEqual(yield* state(dependency), "Closed", dependency)
        yield* failTimes(1, dependency)
        assert.strictEqual(yield* state(dependency), "Open", dependency)
      }
    })
  )
  test(
    "count consecutive failures only",
    Effect.gen(function* () {
      yield* failTimes(4)
      yield* call(Effect.void)
      yield* failTimes(4)
      assert.strictEqual(yield* state(), "Closed")
    })
  )
  test(
    "reject at once while open, without running",
    Effect.gen(function* () {
      yield* failTimes(5)
      let ran = false
      assert.strictEqual(
        yield* reasonOf(
          call(
            Effect.sync(() => {
              ran = true
            })
          )
        ),
        "CircuitOpen"
      )
      assert.isFalse(ran)
      assert.strictEqual((yield* statistics())?.rejections, 1)
    })
  )
  test(
    "let one call probe after 60 seconds, 30 for redis, 120 for graphiti",
    Effect.gen(function* () {
      for (const [dependency, seconds] of [
        ["postgres", 60],
        ["redis", 30],
        ["graphiti", 120]
      ] as const) {
        yield* failTimes(5, dependency)
        yield* TestClock.adjust((seconds - 1) * 1000)
        assert.strictEqual(yield* reasonOf(call(Effect.void, dependency)), "CircuitOpen")
        yield* TestClock.adjust(1000)
        yield* call(Effect.void, dependency)
        assert.strictEqual(yield* state(dependency), "Closed")
      }
    })
  )
  test(
    "reopen when the probe fails",
    Effect.gen(function* () {
      yield* failTimes(5)
      yield* TestClock.adjust("60 seconds")
      yield* Effect.exit(call(fail))
      assert.strictEqual(yield* state(), "Open")
    })
  )
  test(
    "reject others while the probe runs",
    Effect.gen(function* () {
      yield* failTimes(5)
      yield* TestClock.adjust("60 seconds")
      const done = yield* Deferred.make<void>()
      const probe = yield* Effect.forkChild(call(Deferred.await(done)), { startImmediately: true })
      assert.strictEqual(yield* reasonOf(call(Effect.void)), "CircuitHalfOpen")
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.join(probe)
      assert.strictEqual(yield* state(), "Closed")
    })
  )
  test(
    "count successes, failures and rejections",
    Effect.gen(function* () {
      yield* call(Effect.void)
      yield* failTimes(7)
      const found = yield* statistics()
      assert.deepStrictEqual([found?.successes, found?.failures, found?.rejections], [1, 5, 2])
    })
  )
  test(
    "close by hand, and forget",
    Effect.gen(function* () {
      yield* failTimes(5)
      yield* Effect.flatMap(CircuitBreakers, (breakers) => breakers.reset("postgres"))
      assert.strictEqual(yield* state(), "Closed")
      yield* failTimes(4)
      assert.strictEqual(yield* state(), "Closed")
    })
  )
  test(
    "stay open by hand until reset",
    Effect.gen(function* () {
      const breakers = yield* CircuitBreakers
      yield* breakers.isolate("postgres")
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* reasonOf(call(Effect.void)), "CircuitOpen")
      yield* breakers.reset("postgres")
      yield* call(Effect.void)
    })
  )
  test(
    "count only what is said to be a failure",
    Effect.gen(function* () {
      for (let i = 0; i < 10; i++) yield* Effect.exit(call(fail, "postgres", (error) => error !== "down"))
      assert.strictEqual(yield* state(), "Closed")
    })
  )
  test(
    "count defects, and not interruption",
    Effect.gen(function* () {
      for (let i = 0; i < 5; i++) yield* Effect.exit(call(Effect.interrupt))
      assert.strictEqual(yield* state(), "Closed")
      for (let i = 0; i < 5; i++) yield* Effect.exit(call(Effect.die("bug")))
      assert.strictEqual(yield* state(), "Open")
    })
  )
  test(
    "are one for each dependency",
    Effect.gen(function* () {
      yield* failTimes(5)
      yield* call(Effect.void, "neo4j")
      assert.deepStrictEqual([yield* state("postgres"), yield* state("neo4j")], ["Open", "Closed"])
    })
  )
  test(
    "publish their transitions",
    Effect.gen(function* () {
      const breakers = yield* CircuitBreakers
      const seen = yield* Effect.forkChild(Stream.runCollect(Stream.take(breakers.transitions, 3)), {
        startImmediately: true
      })
      yield* failTimes(5)
      yield* TestClock.adjust("60 seconds")
      yield* call(Effect.void)
      assert.deepStrictEqual(
        [...(yield* Fiber.join(seen))].map((one) => one.to),
        ["Open", "HalfOpen", "Closed"]
      )
    })
  )

  test(
    "count the failures of calls that ran at the same time, and none twice",
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const calls = yield* Effect.forEach(Array.from({ length: 7 }), () =>
        Effect.forkChild(Effect.exit(call(Effect.andThen(Deferred.await(gate), fail))), { startImmediately: true })
      )
      yield* call(Effect.void)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.joinAll(calls)
      assert.deepStrictEqual([yield* state(), (yield* statistics())?.failures], ["Open", 7])
    })
  )
  test(
    "take no call that began before it opened for the probe",
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const late = yield* Effect.forEach([Effect.void, fail], (end) =>
        Effect.forkChild(Effect.exit(call(Effect.andThen(Deferred.await(gate), end))), { startImmediately: true })
      )
      yield* failTimes(5)
      yield* TestClock.adjust("60 seconds")
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.joinAll(late)
      assert.strictEqual(yield* state(), "Open")
      yield* call(Effect.void)
      assert.strictEqual(yield* state(), "Closed")
    })
  )
  test(
    "forget with their failures those of calls that were still running when it was closed by hand",
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const late = yield* Effect.forEach(Array.from({ length: 5 }), () =>
        Effect.forkChild(Effect.exit(call(Effect.andThen(Deferred.await(gate), fail))), { startImmediately: true })
      )
      yield* Effect.flatMap(CircuitBreakers, (breakers) => breakers.reset("postgres"))
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.joinAll(late)
      assert.strictEqual(yield* state(), "Closed")
    })
  )

  it.effect("take custom thresholds and pauses", () =>
    Effect.gen(function* () {
      yield* failTimes(2, "search")
      assert.strictEqual(yield* state("search"), "Open")
      yield* TestClock.adjust("5 seconds")
      yield* call(Effect.void, "search")
    }).pipe(Effect.provide(Breakers.layerMemory({ search: { failures: 2, openFor: "5 seconds" } })))
  )

  it.effect("let everything pass when switched off", () =>
    Effect.gen(function* () {
      yield* failTimes(20)
      assert.isTrue(Exit.isSuccess(yield* Effect.exit(call(Effect.void))))
    }).pipe(Effect.provide(Layer.fresh(Breakers.layerOff)))
  )
})
