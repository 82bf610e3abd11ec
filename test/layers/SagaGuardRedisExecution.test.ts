/** A whole saga over the fused guard: what an execution leaves of it, wherever it is interrupted or loses its lock. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scheduler, Schema } from "effect"
import { IoRedis, Saga, SagaGuardRedis, SagaMemory, Step } from "effect-saga"
import { lockKey } from "../../src/layers/redis/RedisKeys.ts"
import * as RedisLock from "../../src/layers/redis/RedisLock.ts"
import { kindOf } from "../../src/layers/redis/SagaGuardScripts.ts"
import { servers } from "../servers/inject.ts"
import { type Faults, faulty, lost } from "./FaultyRedis.ts"
import { asked, marksOn, own, plain, url } from "./GuardWorld.ts"

/** All in memory but the guard and the lock, which are those of real Redis. */
const over = (options: SagaGuardRedis.SagaGuardRedisOptions = {}, faults: Faults = {}) =>
  Layer.mergeAll(SagaMemory.layer, SagaGuardRedis.layerWith(options), RedisLock.layerWith(options)).pipe(
    Layer.provide(faulty(faults)),
    Layer.provide(Layer.fresh(IoRedis.layerUrl(url)))
  )

/** What its two steps wrote and did not undo, and the fences they did it with. */
const sagaOf = (second: (id: string) => Effect.Effect<unknown>) => {
  const rows = new Set<string>()
  const undone: Array<number> = []
  const writing = (name: string, work: (id: string) => Effect.Effect<unknown>) =>
    Step.make(name, {
      input: Schema.String,
      execute: (id) =>
        Effect.andThen(
          Effect.sync(() => rows.add(`${name} ${id}`)),
          Effect.asVoid(work(id))
        ),
      compensate: (id) =>
        Effect.gen(function* () {
          const { fence } = yield* Step.SagaRun
          undone.push(fence)
          rows.delete(`${name} ${id}`)
        })
    })
  const [one, two] = [writing("one", () => Effect.void), writing("two", second)]
  const saga = Saga.make("Executed", {
    payload: Schema.String,
    success: Schema.String,
    resource: (id) => id,
    steps: [one, two],
    run: (id) => Effect.as(Effect.andThen(one(id), two(id)), "done")
  })
  return { rows, saga, undone }
}

const left = (id: string) =>
  Effect.scoped(
    Effect.flatMap(plain, (client) => asked(() => Promise.all([client.exists(lockKey(id)), marksOn(client, [id])])))
  )

describe.skipIf(servers().redis === null)("an execution over the fused guard", () => {
  it.layer(over(), { excludeTestServices: true, timeout: 60_000 })((test) => {
    test.effect(
      "that is interrupted is whole or absent, and leaves neither lock nor mark, wherever its fiber yields",
      () =>
        Effect.gen(function* () {
          const { rows, saga } = sagaOf(() => Effect.sleep("1 millis"))
          yield* saga.execute(own("warm"))
          rows.clear()
          const ends = { whole: 0, absent: 0 }
          for (let ops = 3; ops <= 60; ops += 2) {
            for (const pause of [0, 1, 2, 20]) {
              const id = own("interrupted")
              const run = Effect.provideService(saga.execute(id), Scheduler.MaxOpsBeforeYield, ops)
              const fiber = yield* Effect.forkChild(run, { startImmediately: true })
              yield* pause === 0 ? Effect.yieldNow : Effect.sleep(pause)
              yield* Fiber.interrupt(fiber)
              const exit = yield* Fiber.await(fiber)
              // Once it has committed, what interrupts it comes too late: it is whole, and a repeat is told so.
              const isWhole = rows.size === 2
              assert.isTrue(isWhole || (rows.size === 0 && Exit.isFailure(exit)), `${ops} ${pause} left ${[...rows]}`)
              rows.clear()
              // What is taken back is taken back behind it.
              for (let i = 0; i < 50 && (yield* left(id)).some((n) => n > 0); i++) yield* Effect.sleep("10 millis")
              assert.deepStrictEqual(yield* left(id), [0, 0], `${ops} ${pause}`)
              const repeat = yield* saga.executeReceipt(id)
              assert.deepStrictEqual([repeat.replayed, rows.size], isWhole ? [true, 0] : [false, 2], `${ops} ${pause}`)
              rows.clear()
              ends[isWhole ? "whole" : "absent"]++
            }
          }
          assert.isTrue(ends.whole > 0 && ends.absent > 0, "some were too late, some were not")
        })
    )
  })

  it.layer(over({ lease: "300 millis" }), { excludeTestServices: true, timeout: 60_000 })((test) => {
    test.effect("whose lock was lost undoes under one taken anew, and leaves that free", () =>
      Effect.gen(function* () {
        const client = yield* plain
        const taken = (id: string) =>
          Effect.andThen(
            // Another has it for a while.
            asked(() => client.set(lockKey(id), "somebody's", "PX", 400)),
            Effect.never
          )
        const { rows, saga, undone } = sagaOf(taken)
        const id = own("lost")
        const error = yield* Effect.flip(saga.execute(id))
        assert.strictEqual(error._tag === "LockError" ? error.reason._tag : error._tag, "LockLost")
        assert.deepStrictEqual([...rows], [])
        assert.strictEqual(new Set(undone).size, 1)
        assert.strictEqual(yield* asked(() => client.exists(lockKey(id))), 0)
        const after = sagaOf(() => Effect.void)
        assert.strictEqual(yield* after.saga.execute(id), "done")
      }).pipe(Effect.scoped)
    )
  })

  const unrecorded: Faults = { before: (script) => (kindOf(script) === "leave" ? lost : Effect.void) }
  it.layer(over({}, unrecorded), { excludeTestServices: true, timeout: 60_000 })((test) => {
    test.effect("whose end could not be stored succeeds unrecorded, and leaves its lock free", () =>
      Effect.gen(function* () {
        const { saga } = sagaOf(() => Effect.void)
        const id = own("unrecorded")
        const receipt = yield* saga.executeReceipt(id)
        assert.deepStrictEqual([receipt.value, receipt.recorded], ["done", false])
        const [locks] = yield* left(id)
        assert.strictEqual(locks, 0)
      })
    )
  })
})
