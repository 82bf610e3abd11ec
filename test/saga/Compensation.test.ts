import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreakers, DeadLetterQueue, Saga, SagaMemory } from "effect-saga"
import { a, b, behave, c, Doc, notify, Refused, World, write, writeParallel } from "./World.ts"

const layers = Layer.merge(SagaMemory.layer, World.layer)
const doc = { id: "1", text: "x" }

describe("compensation", () => {
  it.effect("runs every step once and returns the result", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* write.execute(doc), "c-1")
      assert.deepStrictEqual((yield* World).log, ["a", "b", "c", "notify"])
    }).pipe(Effect.provide(layers))
  )

  it.effect("undoes in reverse order and fails with the step's own error", () =>
    Effect.gen(function* () {
      yield* behave("c", "fails")
      const error = yield* Effect.flip(write.execute(doc))
      assert.instanceOf(error, Refused)
      const world = yield* World
      assert.deepStrictEqual(world.log, ["a", "b", "c", "undo b", "undo a"])
      assert.strictEqual(world.rows.size, 0)
      assert.strictEqual(yield* (yield* DeadLetterQueue).size, 0)
    }).pipe(Effect.provide(layers))
  )

  it.effect("restores what was there before", () =>
    Effect.gen(function* () {
      yield* write.execute(doc)
      yield* behave("c", "fails")
      yield* Effect.flip(write.execute({ id: "1", text: "y" }))
      assert.strictEqual((yield* World).rows.get("a:1"), "x")
    }).pipe(Effect.provide(layers))
  )

  it.effect("undoes a failed step whose write may have been applied, before the others", () =>
    Effect.gen(function* () {
      yield* behave("c", "failsApplied")
      yield* Effect.flip(write.execute(doc))
      const world = yield* World
      assert.deepStrictEqual(world.log, ["a", "b", "c", "undo c", "undo b", "undo a"])
      assert.strictEqual(world.rows.size, 0)
    }).pipe(Effect.provide(layers))
  )

  it.effect("still undoes a failed attempt that came after an unknown one", () =>
    Effect.gen(function* () {
      yield* behave("c", "hangs", "fails")
      const fiber = yield* Effect.forkChild(Effect.flip(write.execute(doc)))
      yield* TestClock.adjust("20 seconds")
      assert.instanceOf(yield* Fiber.join(fiber), Refused)
      const world = yield* World
      assert.deepStrictEqual(world.log, ["a", "b", "c", "c", "undo c", "undo b", "undo a"])
      assert.strictEqual(world.rows.size, 0)
    }).pipe(Effect.provide(layers))
  )

  it.effect("begins undoing with a fence above that of every write", () =>
    Effect.gen(function* () {
      yield* behave("c", "fails")
      yield* Effect.flip(write.execute(doc))
      const { fences, log } = yield* World
      const forward = fences.filter((_, i) => !log[i]?.startsWith("undo"))
      const undo = fences.filter((_, i) => log[i]?.startsWith("undo"))
      assert.isAbove(Math.min(...undo), Math.max(...forward))
    }).pipe(Effect.provide(layers))
  )

  it.effect("explains a call whose breaker throws as it is to be undone, and goes on with the others", () =>
    Effect.gen(function* () {
      yield* behave("c", "fails")
      const breakers = yield* CircuitBreakers
      let undoing = false
      const throwing = CircuitBreakers.of({
        ...breakers,
        unhindered: (dependency) => {
          if (undoing && dependency === "b") throw new Error("no breaker")
          undoing ||= dependency === "c"
          return breakers.unhindered?.(dependency)
        }
      })
      const error = yield* Effect.flip(Effect.provideService(write.execute(doc), CircuitBreakers, throwing))
      assert.strictEqual(error._tag, "CompensationError")
      const world = yield* World
      assert.deepStrictEqual(world.log, ["a", "b", "c", "undo a"])
      assert.strictEqual(yield* (yield* DeadLetterQueue).size, 1)
    }).pipe(Effect.provide(layers))
  )

  it.effect("turns a compensation that fails into a dead letter and goes on with the others", () =>
    Effect.gen(function* () {
      yield* behave("c", "fails")
      yield* behave("undo b", "fails")
      const error = yield* Effect.flip(write.execute(doc))
      assert.strictEqual(error._tag, "CompensationError")
      if (error._tag !== "CompensationError") return
      assert.instanceOf(error.cause, Refused)
      const world = yield* World
      assert.deepStrictEqual(world.log, ["a", "b", "c", "undo b", "undo a"])
      const letters = yield* (yield* DeadLetterQueue).list()
      assert.deepStrictEqual(
        letters.map(({ id, step, kind, operation, priority, database, errorType }) => ({
          id,
          step,
          kind,
          operation,
          priority,
          database,
          errorType
        })),
        [
          {
            id: error.failures[0]?.deadLetterId ?? "",
            step: "b",
            kind: "compensation",
            operation: "rollback_delete",
            priority: "high",
            database: "b",
            errorType: "Refused"
          }
        ]
      )
      assert.deepStrictEqual(letters[0]?.input, doc)
    }).pipe(Effect.provide(layers))
  )

  it.effect("makes one dead letter for each of several failed compensations", () =>
    Effect.gen(function* () {
      yield* behave("c", "fails")
      yield* behave("undo b", "fails")
      yield* behave("undo a", "dies")
      const error = yield* Effect.flip(write.execute(doc))
      assert.strictEqual(error._tag === "CompensationError" ? error.failures.length : 0, 2)
      assert.strictEqual(yield* (yield* DeadLetterQueue).size, 2)
    }).pipe(Effect.provide(layers))
  )

  it.effect("retries a compensation by its own schedule", () =>
    Effect.gen(function* () {
      yield* behave("c", "fails")
      yield* behave("undo b", "transient", "transient", "works")
      const fiber = yield* Effect.forkChild(Effect.flip(write.execute(doc)))
      yield* TestClock.adjust("3 seconds")
      assert.instanceOf(yield* Fiber.join(fiber), Refused)
      assert.strictEqual((yield* World).rows.size, 0)
    }).pipe(Effect.provide(layers))
  )

  it.effect("parks a compensation that hangs, after its limit and retries", () =>
    Effect.gen(function* () {
      yield* behave("c", "fails")
      yield* behave("undo b", "hangs")
      const fiber = yield* Effect.forkChild(Effect.flip(write.execute(doc)))
      yield* TestClock.adjust("200 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "CompensationError")
      assert.strictEqual((yield* (yield* DeadLetterQueue).list())[0]?.errorType, "StepTimeout")
    }).pipe(Effect.provide(layers))
  )

  it.effect("compensates a defect as a failure, and the defect survives", () =>
    Effect.gen(function* () {
      yield* behave("c", "dies")
      const exit = yield* Effect.exit(write.execute(doc))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.deepStrictEqual((yield* World).log, ["a", "b", "c", "undo c", "undo b", "undo a"])
    }).pipe(Effect.provide(layers))
  )

  it.effect("compensates when it is interrupted", () =>
    Effect.gen(function* () {
      yield* behave("c", "hangs")
      const fiber = yield* Effect.forkChild(write.execute(doc))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      const world = yield* World
      assert.deepStrictEqual(world.log, ["a", "b", "c", "undo c", "undo b", "undo a"])
      assert.strictEqual(world.rows.size, 0)
    }).pipe(Effect.provide(layers))
  )

  it.effect("interrupts the siblings of a failed parallel step and undoes them all", () =>
    Effect.gen(function* () {
      yield* behave("b", "fails")
      yield* behave("c", "hangs")
      assert.instanceOf(yield* Effect.flip(writeParallel.execute(doc)), Refused)
      const world = yield* World
      assert.strictEqual(world.rows.size, 0)
      assert.isFalse(world.log.includes("undo b"))
    }).pipe(Effect.provide(layers))
  )

  it.effect("interrupts and undoes a step that was forked off and forgotten", () =>
    Effect.gen(function* () {
      const forking = Saga.make("Forking", {
        payload: Doc,
        error: Refused,
        resource: (d) => d.id,
        steps: [a, b, c],
        run: Effect.fn(function* (d) {
          yield* Effect.forkDetach(a(d), { startImmediately: true })
          yield* b(d)
        })
      })
      yield* behave("a", "hangs")
      yield* behave("b", "fails")
      assert.instanceOf(yield* Effect.flip(forking.execute(doc)), Refused)
      assert.deepStrictEqual((yield* World).log, ["a", "b", "undo a"])
    }).pipe(Effect.provide(layers))
  )
})

describe("point of no return", () => {
  it.effect("parks a retriable step that stays failing, and the saga succeeds", () =>
    Effect.gen(function* () {
      yield* behave("notify", "fails")
      const receipt = yield* write.executeReceipt(doc)
      assert.strictEqual(receipt.parked.length, 1)
      const letter = yield* (yield* DeadLetterQueue).get(receipt.parked[0] ?? "")
      assert.strictEqual(letter.kind, "retriable")
      assert.deepStrictEqual((yield* World).log, ["a", "b", "c", "notify"])
    }).pipe(Effect.provide(layers))
  )

  it.effect("undoes nothing after it: what is left becomes a forward dead letter", () =>
    Effect.gen(function* () {
      const late = Saga.make("Late", {
        payload: Doc,
        error: Refused,
        resource: (d) => d.id,
        steps: [a, b, notify],
        run: Effect.fn(function* (d) {
          yield* a(d)
          yield* notify(d)
          yield* b(d)
        })
      })
      yield* behave("b", "fails")
      const error = yield* Effect.flip(late.execute(doc))
      assert.strictEqual(error._tag, "CompensationError")
      const world = yield* World
      assert.deepStrictEqual(world.log, ["a", "notify", "b"])
      const [letter] = yield* (yield* DeadLetterQueue).list()
      assert.strictEqual(letter?.kind, "forward")
    }).pipe(Effect.provide(layers))
  )

  it.effect("times a saga out before it, and undoes", () =>
    Effect.gen(function* () {
      const slow = Saga.make("Slow", {
        payload: Doc,
        error: Refused,
        resource: (d) => d.id,
        steps: [a, b],
        timeout: "3 seconds",
        run: (d) => Effect.andThen(a(d), Effect.asVoid(b(d)))
      })
      yield* behave("b", "hangs")
      const fiber = yield* Effect.forkChild(Effect.flip(slow.execute(doc)))
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "SagaTimeout")
      assert.strictEqual((yield* World).rows.size, 0)
    }).pipe(Effect.provide(layers))
  )
})

describe("nested sagas", () => {
  const inner = Saga.make("Inner", {
    payload: Doc,
    error: Refused,
    resource: (d) => d.id,
    steps: [a, b],
    run: (d) => Effect.asVoid(Effect.andThen(a(d), b(d)))
  })
  const innerStep = Saga.asStep(inner)
  const outer = Saga.make("Outer", {
    payload: Doc,
    error: Refused,
    resource: (d) => d.id,
    steps: [innerStep, c],
    run: (d) => Effect.asVoid(Effect.andThen(innerStep(d), c(d)))
  })

  it.effect("are undone as a unit, last step first, when the outer saga fails", () =>
    Effect.gen(function* () {
      yield* behave("c", "fails")
      assert.instanceOf(yield* Effect.flip(outer.execute(doc)), Refused)
      assert.deepStrictEqual((yield* World).log, ["a", "b", "c", "undo b", "undo a"])
    }).pipe(Effect.provide(layers))
  )

  it.effect("are undone once when they fail themselves", () =>
    Effect.gen(function* () {
      yield* behave("b", "fails")
      assert.instanceOf(yield* Effect.flip(outer.execute(doc)), Refused)
      assert.deepStrictEqual((yield* World).log, ["a", "b", "undo a"])
    }).pipe(Effect.provide(layers))
  )

  it.effect("must not touch a resource that the outer saga does not hold", () =>
    Effect.gen(function* () {
      const wrong = Saga.make("Wrong", {
        payload: Doc,
        error: Refused,
        resource: (d) => `other ${d.id}`,
        steps: [innerStep],
        run: (d) => innerStep(d)
      })
      const exit = yield* Effect.exit(wrong.execute(doc))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.deepStrictEqual((yield* World).log, [])
    }).pipe(Effect.provide(layers))
  )
})

describe("properties", () => {
  const steps = [a, b, c]
  it.effect.prop(
    "whichever call fails, those before it are undone in reverse and nothing is left",
    [
      Schema.Array(Schema.Literals([0, 1, 2])).check(Schema.isMinLength(1), Schema.isMaxLength(8)),
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 7 })),
      Schema.Literals(["fails", "failsApplied", "dies"])
    ],
    ([calls, position, how]) =>
      Effect.gen(function* () {
        const failing = position % calls.length
        const names: Array<string> = []
        const program = Saga.make("Program", {
          payload: Doc,
          error: Refused,
          resource: (d) => d.id,
          steps,
          run: Effect.fn(function* (d) {
            for (const [i, index] of calls.entries()) {
              const step = steps[index] ?? a
              if (i === failing) yield* behave(step.stepName, how)
              names.push(step.stepName)
              yield* step({ ...d, id: `${d.id}-${i}` })
            }
          })
        })
        yield* Effect.exit(program.execute(doc))
        const world = yield* World
        const undone = how === "fails" ? names.slice(0, -1) : names
        assert.deepStrictEqual(world.log, [...names, ...undone.toReversed().map((name) => `undo ${name}`)])
        assert.strictEqual(world.rows.size, 0)
      }).pipe(Effect.provide(layers))
  )
})
