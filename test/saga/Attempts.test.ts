import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { TestClock } from "effect/testing"
import { DeadLetterQueue, Saga, SagaMemory, SagaSettings, type Toggles } from "effect-saga"
import { a, b, behave, Doc, Refused, World, write } from "./World.ts"

const layers = (toggles: Toggles = {}) => Layer.merge(SagaMemory.layerWith(toggles), World.layer)
const doc = { id: "1", text: "x" }
const inVirtualTime = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const since = yield* Clock.currentTimeMillis
    let took = 0
    const fiber = yield* Effect.forkChild(
      Effect.ensuring(
        effect,
        Effect.map(Clock.currentTimeMillis, (now) => {
          took = now - since
        })
      )
    )
    for (let i = 0; i < 60; i++) yield* TestClock.adjust("1 second")
    return [yield* Fiber.await(fiber), took] as const
  })

describe("retry", () => {
  it.effect("needs no second attempt after a success", () =>
    Effect.gen(function* () {
      const [, took] = yield* inVirtualTime(write.execute(doc))
      assert.strictEqual(took, 0)
    }).pipe(Effect.provide(layers()))
  )

  it.effect("succeeds at the second attempt, after one second", () =>
    Effect.gen(function* () {
      yield* behave("b", "transient", "works")
      const [exit, took] = yield* inVirtualTime(write.execute(doc))
      assert.deepStrictEqual([exit._tag, took], ["Success", 1000])
    }).pipe(Effect.provide(layers()))
  )

  it.effect("waits 1, 2 and 4 seconds, then fails with the original error", () =>
    Effect.gen(function* () {
      yield* behave("b", "transient")
      const [exit, took] = yield* inVirtualTime(Effect.flip(write.execute(doc)))
      assert.strictEqual(took, 7000)
      assert.isTrue(exit._tag === "Success" && exit.value instanceof Refused)
      assert.deepStrictEqual((yield* World).log, ["a", "b", "b", "b", "b", "undo a"])
    }).pipe(Effect.provide(layers()))
  )

  it.effect("runs once when switched off", () =>
    Effect.gen(function* () {
      yield* behave("b", "transient")
      const [, took] = yield* inVirtualTime(Effect.flip(write.execute(doc)))
      assert.deepStrictEqual([took, (yield* World).log], [0, ["a", "b", "undo a"]])
    }).pipe(Effect.provide(layers({ retries: false })))
  )

  it.effect("does not repeat what is not transient", () =>
    Effect.gen(function* () {
      yield* behave("b", "fails")
      yield* Effect.flip(write.execute(doc))
      assert.deepStrictEqual((yield* World).log, ["a", "b", "undo a"])
    }).pipe(Effect.provide(layers()))
  )

  it.effect("opens the breaker after five failed attempts, though reads before them succeed", () =>
    Effect.gen(function* () {
      yield* behave("b", "transient")
      yield* inVirtualTime(Effect.exit(write.execute(doc)))
      yield* Effect.forkChild(Effect.exit(write.execute(doc)))
      yield* TestClock.adjust("100 millis")
      const error = yield* Effect.flip(write.execute({ id: "2", text: "y" }))
      assert.strictEqual(error._tag, "CircuitBreakerError")
    }).pipe(Effect.provide(layers()))
  )

  it.effect("parks a compensation behind an open breaker until the breaker lets it through", () =>
    Effect.gen(function* () {
      yield* behave("undo a", "transient")
      yield* behave("b", "fails")
      const twice = Saga.make("Twice", {
        payload: Doc,
        error: Refused,
        resource: (d) => d.id,
        steps: [a, b],
        run: (d) => Effect.asVoid(Effect.all([a(d), a({ ...d, id: "2" }), b(d)]))
      })
      yield* inVirtualTime(Effect.exit(twice.execute(doc)))
      const letters = yield* (yield* DeadLetterQueue).list()
      assert.deepStrictEqual(
        letters.map((letter) => letter.errorType),
        ["Refused", "CircuitBreakerError"]
      )
      const parked = letters[1]
      assert.isTrue(parked !== undefined && parked.dueAt.epochMilliseconds > parked.createdAt.epochMilliseconds)
    }).pipe(Effect.provide(layers()))
  )
})

describe("idempotency", () => {
  it.effect("runs once for simultaneous requests, and all get the result", () =>
    Effect.gen(function* () {
      const receipts = yield* Effect.all(
        Array.from({ length: 10 }, () => write.executeReceipt(doc)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual((yield* World).log, ["a", "b", "c", "notify"])
      assert.strictEqual(receipts.filter((receipt) => receipt.replayed).length, 9)
    }).pipe(Effect.provide(layers()))
  )

  it.effect("does not depend on the order of a payload's members", () =>
    Effect.gen(function* () {
      yield* write.execute({ id: "1", text: "x" })
      assert.isTrue((yield* write.executeReceipt({ text: "x", id: "1" })).replayed)
    }).pipe(Effect.provide(layers()))
  )

  it.effect("refuses a key that is empty, too long or not printable, before anything runs", () =>
    Effect.gen(function* () {
      for (const idempotencyKey of ["", "x".repeat(256), "line\nbreak", "ünïcode"]) {
        const error = yield* Effect.flip(write.execute(doc, { idempotencyKey }))
        assert.strictEqual(error._tag === "IdempotencyError" ? error.reason._tag : error._tag, "InvalidKey")
      }
      assert.deepStrictEqual((yield* World).log, [])
    }).pipe(Effect.provide(layers()))
  )

  it.effect("forgets a record after 24 hours", () =>
    Effect.gen(function* () {
      yield* write.execute(doc)
      yield* TestClock.adjust("24 hours")
      assert.isFalse((yield* write.executeReceipt(doc)).replayed)
    }).pipe(Effect.provide(layers()))
  )

  it.effect("keeps a failure only if the saga says so", () =>
    Effect.gen(function* () {
      const remembering = Saga.make("Remembering", {
        payload: Doc,
        error: Refused,
        resource: (d) => d.id,
        steps: [a],
        recordFailure: (error) => error.store === "a",
        run: (d) => Effect.asVoid(a(d))
      })
      yield* behave("a", "fails", "works")
      const first = yield* Effect.flip(remembering.execute(doc))
      const second = yield* Effect.flip(remembering.execute(doc))
      assert.deepStrictEqual(second, first)
      assert.deepStrictEqual((yield* World).log, ["a"])
    }).pipe(Effect.provide(layers()))
  )

  it.effect("replays a failure that has no JSON as a failure", () =>
    Effect.gen(function* () {
      const failing = Saga.make("Failing", {
        payload: Doc,
        error: Schema.Any,
        resource: (d) => d.id,
        steps: [],
        recordFailure: () => true,
        run: () => Effect.fail(() => "no JSON")
      })
      assert.isTrue(Exit.isFailure(yield* Effect.exit(failing.execute(doc))))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(failing.execute(doc))))
    }).pipe(Effect.provide(layers()))
  )

  it.effect("replays undefined and null as themselves", () =>
    Effect.gen(function* () {
      const of = <S extends Schema.Constraint>(name: string, success: S, value: S["Type"]) =>
        Saga.make(name, {
          payload: Doc,
          success,
          error: Refused,
          resource: (d) => d.id,
          steps: [a],
          run: (d) => Effect.as(a(d), value)
        })
      const nothing = of("Nothing", Schema.Void, undefined)
      const nil = of("Nil", Schema.Null, null)
      for (const saga of [nothing, nil]) {
        const first = yield* saga.executeReceipt(doc)
        const second = yield* saga.executeReceipt(doc)
        assert.strictEqual(second.value, first.value)
        assert.isTrue(second.replayed)
      }
    }).pipe(Effect.provide(layers()))
  )

  it.effect("succeeds unrecorded when the result is too large, and says so to a caller's key", () =>
    Effect.gen(function* () {
      const settings = yield* SagaSettings
      const small = Effect.provideService(SagaSettings, { ...settings, maxResultSize: 10 })
      const receipt = yield* write.executeReceipt(doc, { idempotencyKey: "k" }).pipe(small)
      assert.isFalse(receipt.recorded)
      const error = yield* Effect.flip(write.execute(doc, { idempotencyKey: "k" }))
      assert.strictEqual(error._tag === "IdempotencyError" ? error.reason._tag : error._tag, "ResultNotKept")
    }).pipe(Effect.provide(layers()))
  )

  it.effect("runs every time when switched off", () =>
    Effect.gen(function* () {
      yield* write.execute(doc)
      assert.isFalse((yield* write.executeReceipt(doc)).replayed)
    }).pipe(Effect.provide(layers({ idempotency: false })))
  )

  it.effect("lets all run at once with locking and idempotency switched off", () =>
    Effect.gen(function* () {
      yield* Effect.all(
        Array.from({ length: 5 }, () => Effect.exit(write.execute(doc))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual((yield* World).log.filter((name) => name === "c").length, 5)
    }).pipe(Effect.provide(layers({ locking: false, idempotency: false })))
  )

  it.effect("keeps no dead letter when the queue is switched off", () =>
    Effect.gen(function* () {
      yield* behave("c", "fails")
      yield* behave("undo b", "fails")
      assert.strictEqual((yield* Effect.flip(write.execute(doc)))._tag, "CompensationError")
      assert.strictEqual(yield* (yield* DeadLetterQueue).size, 0)
    }).pipe(Effect.provide(layers({ deadLetters: false })))
  )
})
