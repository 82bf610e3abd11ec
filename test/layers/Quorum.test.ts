/** When a question to several nodes is decided. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, type Fiber, Scope } from "effect"
import { makeQuorum } from "../../src/layers/redis/Quorum.ts"

describe("Quorum", () => {
  it.effect("gives no answer when it may no longer ask, and does not wait for one", () =>
    Effect.gen(function* () {
      const background = yield* Scope.make()
      yield* Scope.close(background, Exit.void)
      const { ask } = makeQuorum([Effect.succeed(1), Effect.succeed(2), Effect.succeed(3)], background)
      const { answers, problems } = yield* ask(
        (node) => Effect.delay(Effect.succeed(node), "1 second"),
        () => true
      )
      assert.deepStrictEqual([answers, problems.length], [[], 3])
    })
  )

  it.effect("leaves to others who asks on when all are to be reached", () =>
    Effect.gen(function* () {
      const background = yield* Effect.scope
      let interrupted = 0
      const slow = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      const { ask } = makeQuorum([Effect.succeed(1), Effect.succeed(2), Effect.succeed(3)], background)
      const question = (node: number) => (node === 3 ? slow : Effect.succeed(node))
      assert.deepStrictEqual(yield* ask(question, () => true), { answers: [1, 2], problems: [] })
      assert.strictEqual(interrupted, 1)
      const by: Array<Fiber.Fiber<unknown, unknown>> = []
      assert.deepStrictEqual((yield* ask(question, () => true, { reached: "all", by })).answers, [1, 2])
      assert.strictEqual(interrupted, 1)
      for (const fiber of by) fiber.interruptUnsafe()
      assert.strictEqual(interrupted, 2)
    })
  )
})
