/** Operations of many fibers that go together, and what one of them cannot do to the others. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { makeGroupCommit } from "../../src/layers/sql/GroupCommit.ts"

/** Writes nothing anywhere until it is let through; remembers what went together. */
const slow = Effect.gen(function* () {
  const groups: Array<ReadonlyArray<number>> = []
  const gate = yield* Deferred.make<void>()
  const run = (ops: ReadonlyArray<number>): Effect.Effect<ReadonlyArray<string>, string> =>
    Effect.suspend(() => {
      groups.push(ops)
      return Effect.as(
        Deferred.await(gate),
        ops.map((op) => `done ${op}`)
      )
    })
  return { groups, run, open: Deferred.succeed(gate, undefined) }
})

const settings = {
  writers: 1,
  slow: "50 millis",
  patience: "10 seconds",
  missing: () => "missing",
  isOfOne: () => true
} as const
const started = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.tap(Effect.forkChild(effect, { startImmediately: true }), () => Effect.yieldNow)
const together = <A, E>(commit: (op: number) => Effect.Effect<A, E>, ops: ReadonlyArray<number>) =>
  Effect.forEach(ops, (op) => Effect.exit(commit(op)), { concurrency: "unbounded" })

describe("a group commit", () => {
  it.effect("sends a lone operation at once", () =>
    Effect.gen(function* () {
      const { groups, open, run } = yield* slow
      const commit = yield* makeGroupCommit(run, settings)
      const one = yield* Effect.forkChild(commit(1), { startImmediately: true })
      yield* Effect.yieldNow
      assert.deepStrictEqual(groups, [[1]])
      yield* open
      assert.strictEqual(yield* Fiber.join(one), "done 1")
    })
  )

  it.effect("sends together what arrives while its writer is busy, in order, and answers each with its own", () =>
    Effect.gen(function* () {
      const { groups, open, run } = yield* slow
      const commit = yield* makeGroupCommit(run, { ...settings, writers: 2 })
      const fibers = yield* Effect.forEach([1, 2, 3, 4], (op) => started(commit(op)))
      assert.deepStrictEqual(groups, [[1]])
      yield* open
      assert.deepStrictEqual(
        yield* Effect.forEach(fibers, (fiber) => Fiber.join(fiber)),
        [1, 2, 3, 4].map((op) => `done ${op}`)
      )
      assert.deepStrictEqual(groups, [[1], [2, 3, 4]])
    })
  )

  it.effect("has another writer help while all are slow, and no more than it may have", () =>
    Effect.gen(function* () {
      const { groups, open, run } = yield* slow
      const commit = yield* makeGroupCommit(run, { ...settings, writers: 2 })
      const fibers = [yield* started(commit(1)), yield* started(commit(2))]
      yield* TestClock.adjust("49 millis")
      fibers.push(yield* started(commit(3)))
      assert.deepStrictEqual(groups, [[1]])
      yield* TestClock.adjust("1 millis")
      fibers.push(yield* started(commit(4)))
      assert.deepStrictEqual(groups, [[1], [2, 3, 4]])
      yield* TestClock.adjust("50 millis")
      fibers.push(yield* started(commit(5)))
      assert.deepStrictEqual(groups, [[1], [2, 3, 4]])
      yield* open
      assert.deepStrictEqual(
        yield* Effect.forEach(fibers, (fiber) => Fiber.join(fiber)),
        [1, 2, 3, 4, 5].map((op) => `done ${op}`)
      )
      assert.deepStrictEqual(groups, [[1], [2, 3, 4], [5]])
    })
  )

  it.effect("has another writer help though nobody else comes", () =>
    Effect.gen(function* () {
      const { groups, run } = yield* slow
      const commit = yield* makeGroupCommit(run, { ...settings, writers: 2 })
      yield* Effect.forEach([1, 2], (op) => started(commit(op)))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(groups, [[1]])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(groups, [[1], [2]])
    })
  )

  it.effect("goes on with the others when a caller is interrupted", () =>
    Effect.gen(function* () {
      const { groups, open, run } = yield* slow
      const commit = yield* makeGroupCommit(run, settings)
      const [first, second, third] = yield* Effect.forEach([1, 2, 3], (op) =>
        Effect.tap(Effect.forkChild(commit(op), { startImmediately: true }), () => Effect.yieldNow)
      )
      if (first === undefined || second === undefined || third === undefined) return assert.fail("three were started")
      yield* Fiber.interrupt(first)
      yield* Fiber.interrupt(second)
      yield* open
      assert.strictEqual(yield* Fiber.join(third), "done 3")
      assert.deepStrictEqual(groups, [[1], [2, 3]])
    })
  )

  it.effect("fails nobody else for one that cannot be written", () =>
    Effect.gen(function* () {
      const commit = yield* makeGroupCommit(
        (ops: ReadonlyArray<number>) => (ops.includes(2) ? Effect.fail("two") : Effect.succeed(ops)),
        settings
      )
      assert.deepStrictEqual(yield* together(commit, [1, 2, 3]), [Exit.succeed(1), Exit.fail("two"), Exit.succeed(3)])
    })
  )

  it.effect("tries none of a group alone when the failure is everybody's", () =>
    Effect.gen(function* () {
      let tried = 0
      const commit = yield* makeGroupCommit(
        (_: ReadonlyArray<number>) =>
          Effect.suspend(() => {
            tried++
            return Effect.fail("down")
          }),
        { ...settings, isOfOne: (failure: string) => failure !== "down" }
      )
      const answers = yield* together(
        commit,
        Array.from({ length: 100 }, (_, i) => i)
      )
      assert.isTrue(answers.every((answer) => Exit.isFailure(answer)))
      assert.isAtMost(tried, 2)
    })
  )

  it.effect("outlives an operation that throws", () =>
    Effect.gen(function* () {
      const commit = yield* makeGroupCommit((ops: ReadonlyArray<number>) => {
        if (ops.includes(2)) throw new Error("two")
        return Effect.succeed(ops)
      }, settings)
      const answers = yield* together(commit, [1, 2, 3])
      assert.deepStrictEqual(
        answers.map((answer) => answer._tag),
        ["Success", "Failure", "Success"]
      )
      assert.strictEqual(yield* commit(4), 4)
    })
  )

  it.effect("fails those that got no answer", () =>
    Effect.gen(function* () {
      const commit = yield* makeGroupCommit((ops: ReadonlyArray<number>) => Effect.succeed(ops.slice(0, 1)), settings)
      const answers = yield* together(commit, [1, 2])
      assert.deepStrictEqual(answers.at(-1), Exit.fail("missing"))
    })
  )

  it.effect("gives up what takes too long, and goes on with the others", () =>
    Effect.gen(function* () {
      const commit = yield* makeGroupCommit(
        (ops: ReadonlyArray<number>) => (ops.includes(1) ? Effect.never : Effect.succeed(ops)),
        settings
      )
      const hung = yield* Effect.forkChild(Effect.exit(commit(1)), { startImmediately: true })
      yield* Effect.yieldNow
      const next = yield* Effect.forkChild(commit(2), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.isUndefined(hung.pollUnsafe(), "it is given its time")
      yield* TestClock.adjust("2500 millis")
      assert.deepStrictEqual(yield* Fiber.join(hung), Exit.fail("missing"))
      assert.strictEqual(yield* Fiber.join(next), 2)
      // One that begins late has as long.
      const late = yield* Effect.forkChild(Effect.exit(commit(1)), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.isUndefined(late.pollUnsafe())
      yield* TestClock.adjust("2500 millis")
      assert.deepStrictEqual(yield* Fiber.join(late), Exit.fail("missing"))
    })
  )

  it.effect("leaves nobody waiting when it closes, before or after", () =>
    Effect.gen(function* () {
      const { run } = yield* slow
      const scope = yield* Scope.make()
      const commit = yield* Scope.provide(makeGroupCommit(run, settings), scope)
      const waiting = yield* Effect.forEach([1, 2, 3], (op) =>
        Effect.tap(Effect.forkChild(Effect.exit(commit(op)), { startImmediately: true }), () => Effect.yieldNow)
      )
      yield* Scope.close(scope, Exit.void)
      const after = yield* Effect.forkChild(Effect.exit(commit(4)), { startImmediately: true })
      yield* Effect.yieldNow
      assert.deepStrictEqual(
        [...waiting, after].map((fiber) => fiber.pollUnsafe()),
        [1, 2, 3, 4].map(() => Exit.succeed(Exit.fail("missing")))
      )
    })
  )
})
