/** A call between the moments: its fiber yields, is interrupted, or its breaker has news while it runs. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Scheduler, Schema } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreakers, MemoryJournal, Saga, SagaGuard, SagaMemory, Step } from "effect-saga"
import { admittingBy } from "../../src/services/SagaGuard.ts"

class Down extends Schema.TaggedError<Down>()("Down", {}) {}

const own = Layer.fresh(SagaMemory.layer)
const within = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.timeoutOrElse(effect, { duration: "5 seconds", orElse: () => Effect.die("it hangs") })

/** A saga of this step and nothing else. */
const alone = (write: Step.Step<"write", typeof Schema.String, typeof Schema.Void, typeof Down, never>) =>
  Saga.make("Alone", {
    payload: Schema.String,
    error: Down,
    resource: (id) => id,
    steps: [write],
    run: (id) => write(id)
  })

const mistaken = () => {
  throw new Error("a mistake")
}
/** Around the one that is there: what it does in the end throws. */
const brokenGuard = Layer.effect(
  SagaGuard,
  Effect.map(SagaGuard, (guard) =>
    SagaGuard.of({
      ...guard,
      admit: (request, restore, context) =>
        Effect.map(admittingBy(guard)(request, restore, context), (entered) =>
          entered._tag === "Replayed" ? entered : { ...entered, close: mistaken }
        )
    })
  )
)

describe("a call of a step", () => {
  it.live("is begun and ended, or neither, wherever its fiber yields while another fails", () =>
    Effect.gen(function* () {
      for (let ops = 4; ops <= 60; ops++) {
        const rows = new Set<string>()
        const step = (name: string, execute: Effect.Effect<void, Down>) =>
          Step.make(name, {
            input: Schema.String,
            error: Down,
            isTransient: () => false,
            execute: (id) =>
              Effect.andThen(
                execute,
                Effect.sync(() => rows.add(name + id))
              ),
            compensate: (id) => Effect.sync(() => rows.delete(name + id))
          })
        const slow = step("slow", Effect.yieldNow)
        const quick = step("quick", Effect.void)
        const bad = step("bad", Effect.andThen(Effect.yieldNow, new Down()))
        const saga = Saga.make("Yielding", {
          payload: Schema.String,
          error: Down,
          resource: (id) => id,
          steps: [slow, quick, bad],
          run: (id) =>
            Effect.all([slow(id), quick(id), bad(id), quick(id), slow(id)], { concurrency: "unbounded", discard: true })
        })
        const exit = yield* saga
          .execute(`${ops}`)
          .pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, ops), Effect.provide(own), Effect.exit, within)
        assert.isTrue(Exit.isFailure(exit), `${ops}`)
        assert.deepStrictEqual([...rows], [], `${ops}`)
      }
    })
  )

  it.live("that fails after its saga was interrupted has ended with it, and is undone", () =>
    Effect.gen(function* () {
      for (const notApplied of [true, false]) {
        const undone: Array<string> = []
        const began = yield* Deferred.make<void>()
        const write = Step.make("write", {
          input: Schema.String,
          error: Down,
          isTransient: () => true,
          notApplied: () => notApplied,
          execute: () =>
            Effect.uninterruptible(
              Effect.andThen(Deferred.succeed(began, undefined), Effect.andThen(Effect.sleep("20 millis"), new Down()))
            ),
          compensate: (id) => Effect.sync(() => undone.push(id))
        })
        const saga = alone(write)
        const fiber = yield* Effect.forkChild(Effect.provide(saga.execute("1"), own))
        yield* Deferred.await(began)
        yield* within(Fiber.interrupt(fiber))
        // Interruption proves nothing, whatever the error says.
        assert.deepStrictEqual(undone, ["1"])
      }
    })
  )

  it.effect("tells the breaker how it ended, which then decides about the next", () =>
    Effect.gen(function* () {
      const breakers = yield* CircuitBreakers
      assert.isUndefined(breakers.unhindered?.("postgres"))
      yield* breakers.protect("postgres")(Effect.void)
      for (let i = 1; i <= 5; i++) {
        const tell = breakers.unhindered?.("postgres")
        if (i === 1) yield* tell?.(Exit.fail("down")) ?? Effect.die("a failure is news")
        else {
          // With a failure behind it only the breaker itself knows.
          assert.isUndefined(tell)
          yield* Effect.exit(breakers.protect("postgres")(Effect.fail("down")))
        }
      }
      const [statistics] = yield* breakers.statistics
      assert.deepStrictEqual([statistics?.state._tag, statistics?.failures], ["Open", 5])
    }).pipe(Effect.provide(own))
  )

  it.effect("is timed anew each time when a breaker of somebody else's runs it twice", () =>
    Effect.gen(function* () {
      const breakers = yield* CircuitBreakers
      const twice = CircuitBreakers.of({
        ...breakers,
        unhindered: () => undefined,
        protect: () => (effect) => Effect.catch(effect, () => effect)
      })
      let tried = 0
      const write = Step.make("write", {
        input: Schema.String,
        error: Down,
        dependency: "postgres",
        isTransient: () => false,
        timeout: "1 second",
        execute: () =>
          Effect.suspend(() =>
            tried++ === 0 ? Effect.never : Effect.andThen(Effect.sleep("10 millis"), Effect.succeed(undefined))
          ),
        compensate: () => Effect.void
      })
      const saga = alone(write)
      const fiber = yield* Effect.forkChild(Effect.provideService(saga.execute("1"), CircuitBreakers, twice))
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("10 millis")
      yield* Fiber.join(fiber)
      assert.strictEqual(tried, 2)
    }).pipe(Effect.provide(own))
  )

  it.live("that fails leaves no step after the point of no return to begin beside it", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      for (const howItEnds of ["fails", "is interrupted"]) {
        const down = yield* Deferred.make<void>()
        const write = Step.make("write", {
          input: Schema.String,
          error: Down,
          isTransient: () => false,
          execute: () => Effect.andThen(Deferred.await(down), howItEnds === "fails" ? new Down() : Effect.never),
          compensate: (id) => Effect.sync(() => log.push(`undo ${id}`))
        })
        const tell = Step.retriable("tell", {
          input: Schema.String,
          execute: (id) => Effect.sync(() => log.push(`tell ${id}`))
        })
        const saga = Saga.make("Beside", {
          payload: Schema.String,
          error: Down,
          resource: (id) => id,
          steps: [write, tell],
          run: (id) =>
            Effect.all(
              [write(id), tell(id), Effect.andThen(Deferred.succeed(down, undefined), Effect.fail(new Down()))],
              { concurrency: "unbounded", discard: true }
            )
        })
        const error = yield* Effect.flip(within(Effect.provide(saga.execute(howItEnds), own)))
        assert.strictEqual(error._tag, "Down")
      }
      assert.deepStrictEqual(log, ["undo fails", "undo is interrupted"])
    })
  )

  it.live("ends with a defect, and is undone, when its author's own functions throw", () =>
    Effect.gen(function* () {
      for (const wrong of [{ isTransient: mistaken }, { isTransient: () => false, notApplied: mistaken }]) {
        for (const pause of [Effect.void, Effect.sleep("1 millis")]) {
          const undone: Array<string> = []
          const write = Step.make("write", {
            ...wrong,
            input: Schema.String,
            error: Down,
            execute: () => Effect.andThen(pause, new Down()),
            compensate: (id) => Effect.sync(() => undone.push(id))
          })
          const saga = alone(write)
          for (const journal of [own, Layer.merge(own, MemoryJournal.layer)]) {
            const exit = yield* Effect.exit(within(Effect.provide(saga.execute("1"), journal)))
            assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause) && String(exit.cause).includes("a mistake"))
          }
          assert.deepStrictEqual(undone, ["1", "1"])
        }
      }
    })
  )

  it.live("with an output that nothing can be made of ends with a defect, and is undone", () =>
    Effect.gen(function* () {
      const undone: Array<string> = []
      const write = Step.make("write", {
        input: Schema.String,
        output: Schema.Unknown,
        execute: () => Effect.succeed(Object.create(null, { toJSON: { get: () => 1n, enumerable: true } })),
        compensate: (id) => Effect.sync(() => undone.push(id))
      })
      const saga = Saga.make("Unwritable", {
        payload: Schema.String,
        resource: (id) => id,
        steps: [write],
        run: (id) => Effect.asVoid(write(id))
      })
      const kept = Layer.merge(own, MemoryJournal.layer)
      const exit = yield* Effect.exit(within(Effect.provide(saga.execute("1"), kept)))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.deepStrictEqual(undone, ["1"])
    })
  )

  it.live("that would begin while another is interrupted does not, and nothing is left", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const began = yield* Deferred.make<void>()
      const step = (name: string, execute: Effect.Effect<void>) =>
        Step.make(name, {
          input: Schema.String,
          execute: () =>
            Effect.andThen(
              Effect.sync(() => log.push(name)),
              execute
            ),
          compensate: () => Effect.sync(() => log.push(`undo ${name}`))
        })
      const slow = step("slow", Effect.andThen(Deferred.succeed(began, undefined), Effect.never))
      const late = step("late", Effect.void)
      const saga = Saga.make("Late", {
        payload: Schema.String,
        error: Down,
        resource: (id) => id,
        steps: [slow, late],
        run: (id) =>
          Effect.gen(function* () {
            const calls = Effect.onInterrupt(slow(id), () => Effect.exit(late(id)))
            yield* Effect.forkDetach(calls, { startImmediately: true })
            yield* Deferred.await(began)
            return yield* new Down()
          })
      })
      const exit = yield* Effect.exit(within(Effect.provide(saga.execute("1"), own)))
      assert.isTrue(Exit.isFailure(exit) && !Cause.hasDies(exit.cause))
      assert.deepStrictEqual(log, ["slow", "undo slow"])
    })
  )

  it.live("leaves its caller's context as it was, also where a guard's own end throws", () =>
    Effect.gen(function* () {
      const saga = Saga.make("Closed", {
        payload: Schema.String,
        resource: (id) => id,
        steps: [],
        run: () => Effect.void
      })
      const outside = yield* Effect.context()
      const exit = yield* Effect.exit(saga.execute("1"))
      assert.isTrue(Exit.isFailure(exit) && String(exit.cause).includes("a mistake"))
      assert.strictEqual(yield* Effect.context(), outside)
    }).pipe(Effect.provide(Layer.provideMerge(brokenGuard, own)))
  )

  it.live("is undone last first, be it one of ten thousand", () =>
    Effect.gen(function* () {
      const undone: Array<number> = []
      const write = Step.make("write", {
        input: Schema.Finite,
        execute: () => Effect.void,
        compensate: (n) => Effect.sync(() => undone.push(n))
      })
      const numbers = Array.from({ length: 10_000 }, (_, n) => n)
      const saga = Saga.make("Many", {
        payload: Schema.String,
        error: Down,
        resource: (id) => id,
        steps: [write],
        run: () => Effect.andThen(Effect.forEach(numbers, write, { discard: true }), new Down())
      })
      const exit = yield* Effect.exit(Effect.provide(saga.execute("1"), own))
      assert.isTrue(Exit.isFailure(exit) && !Cause.hasDies(exit.cause))
      assert.deepStrictEqual(undone, numbers.toReversed())
    })
  )
})
