/** Those who wait in memory: their order, their number, their limits, and what they leave behind. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { DistributedLock, type IdempotencyRequest, Ids, SagaGuard } from "effect-saga"
import * as ComposedGuard from "../../src/layers/guard/ComposedGuard.ts"
import { makeLines } from "../../src/layers/lock/Lines.ts"
import { Bell } from "../../src/layers/lock/Waiting.ts"
import * as MemoryIdempotency from "../../src/layers/memory/MemoryIdempotency.ts"
import * as MemoryLock from "../../src/layers/memory/MemoryLock.ts"
import { request, result, serve } from "../contract/SagaGuardRequests.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })
const guard = () =>
  ComposedGuard.layer.pipe(
    Layer.provideMerge(Layer.fresh(Layer.merge(MemoryLock.layerWith({ wait: "10 seconds" }), MemoryIdempotency.layer)))
  )

/** Runs while another holds the resources, and gives what it gives once that one has ended. */
const behind = <A, E, R>(asked: IdempotencyRequest, use: Effect.Effect<A, E, R>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const admission = yield* (yield* SagaGuard).enter(asked)
      return admission._tag === "Admitted" ? ([yield* use, admission.commit] as const) : assert.fail("not admitted")
    })
  )

const reasonOf = (exit: Exit.Exit<unknown, { readonly _tag: string; readonly reason?: { readonly _tag: string } }>) =>
  Exit.match(exit, {
    onSuccess: () => "Success",
    onFailure: () =>
      Exit.findErrorOption(exit).pipe((error) => (error._tag === "Some" ? error.value.reason?._tag : "interrupted"))
  })

describe("those who wait in memory", () => {
  it.effect("are 5,000 served in their order, each of which ends in one step", () =>
    Effect.gen(function* () {
      const asked = request()
      const order: Array<number> = []
      const [fibers] = yield* behind(
        asked,
        Effect.forEach(Array.from({ length: 5000 }), (_, i) =>
          fork(
            Effect.andThen(
              serve(request({ resources: asked.resources }), result("x")),
              Effect.sync(() => order.push(i))
            )
          )
        )
      )
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(
        order,
        Array.from({ length: 5000 }, (_, i) => i)
      )
    }).pipe(Effect.provide(guard()))
  )

  it.effect("for one key have its result when it is recorded, without their turn", () =>
    Effect.gen(function* () {
      const asked = request({ derived: false })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const admission = yield* (yield* SagaGuard).enter(asked)
          if (admission._tag !== "Admitted") return assert.fail("not admitted")
          const same = yield* Effect.forEach(Array.from({ length: 1000 }), () => fork(serve(asked, result("two"))))
          const other = yield* fork(serve(request({ resources: asked.resources }), result("three")))
          yield* admission.commit(result("one"))
          // The lock is still held: the scope is open.
          assert.deepStrictEqual([...new Set(yield* Fiber.joinAll(same))], ["one"])
          assert.isUndefined(other.pollUnsafe())
        })
      )
      assert.strictEqual(yield* serve(request({ resources: asked.resources }), result("four")), "ran")
    }).pipe(Effect.provide(guard()))
  )

  it.effect("keep their place when what they look for is not there", () =>
    Effect.gen(function* () {
      const lock = yield* DistributedLock
      const tells: Array<() => void> = []
      let looks = 0
      let stops = 0
      const instead = {
        listen: (listener: { readonly told: () => void }) => void tells.push(listener.told.bind(listener)),
        stop: () => void stops++,
        look: () =>
          Effect.sync(() => {
            looks++
            return undefined
          })
      }
      const order: Array<string> = []
      const entered = (name: string) => Effect.sync(() => void order.push(name))
      const fibers = yield* Effect.scoped(
        Effect.gen(function* () {
          yield* lock.acquire("a")
          const first = yield* fork(
            Effect.scoped(Effect.andThen(lock.acquireOr?.(["a"], instead) ?? Effect.void, entered("first")))
          )
          const second = yield* fork(lock.withLock("a")(() => entered("second")))
          tells[0]?.()
          yield* Effect.yieldNow
          yield* TestClock.adjust(100)
          assert.strictEqual(looks, 1)
          return [first, second]
        })
      )
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(order, ["first", "second"])
      assert.isAtLeast(stops, 1)
    }).pipe(Effect.provide(guard()))
  )

  it.effect("wait exactly as long as the limit", () =>
    Effect.gen(function* () {
      const asked = request()
      yield* behind(
        asked,
        Effect.gen(function* () {
          const early = yield* fork(Effect.exit(serve(request({ resources: asked.resources }), result("x"))))
          yield* TestClock.adjust("4 seconds")
          const late = yield* fork(Effect.exit(serve(request({ resources: asked.resources }), result("x"))))
          yield* TestClock.adjust(5999)
          assert.isUndefined(early.pollUnsafe())
          yield* TestClock.adjust(1)
          assert.strictEqual(reasonOf(yield* Fiber.join(early)), "LockTimeout")
          yield* TestClock.adjust(3999)
          assert.isUndefined(late.pollUnsafe())
          yield* TestClock.adjust(1)
          assert.strictEqual(reasonOf(yield* Fiber.join(late)), "LockTimeout")
        })
      )
      assert.strictEqual(yield* serve(request({ resources: asked.resources }), result("x")), "ran")
    }).pipe(Effect.provide(guard()))
  )

  it.effect("leave nothing behind when they are interrupted, and those behind them move up", () =>
    Effect.gen(function* () {
      const asked = request({ derived: false })
      const [fibers, commit] = yield* behind(
        asked,
        Effect.gen(function* () {
          const fibers = yield* Effect.forEach(Array.from({ length: 3000 }), (_, i) =>
            fork(serve(request({ resources: asked.resources, derived: i % 2 === 0 }), result("x")))
          )
          const same = yield* Effect.forEach(Array.from({ length: 3000 }), () => fork(serve(asked, result("y"))))
          yield* Fiber.interruptAll([...fibers.slice(0, 2999), ...same])
          return fibers.slice(2999)
        })
      )
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), ["ran"])
      assert.isTrue(Exit.isFailure(yield* Effect.exit(commit(result("late")))))
      // Whatever they waited for can be had at once: nobody stands in the way.
      const next = yield* Effect.scoped(
        Effect.flatMap(SagaGuard, (entering) => entering.enter(request({ resources: asked.resources })))
      )
      assert.deepStrictEqual(next._tag === "Admitted" ? next.abandoned : ["replayed"], [])
    }).pipe(Effect.provide(guard()))
  )

  it.effect("give a lease back that they were given in the moment of their interruption", () =>
    Effect.gen(function* () {
      const lock = yield* DistributedLock
      const end = yield* Deferred.make<void>()
      const holder = yield* fork(lock.withLock("a")(() => Deferred.await(end)))
      const waiter = yield* fork(lock.withLock("a")(() => Effect.never))
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.join(holder)
      yield* Fiber.interrupt(waiter)
      assert.strictEqual(yield* lock.withLock("a")(() => Effect.succeed("free")), "free")
    }).pipe(Effect.provide(guard()))
  )

  it.effect("leave the lock free when there is no token for them", () =>
    Effect.gen(function* () {
      const lock = yield* DistributedLock
      const none = Effect.provideService(
        lock.withLock("a")(() => Effect.void),
        Ids,
        { next: Effect.die("none") }
      )
      assert.isTrue(Exit.isFailure(yield* Effect.exit(none)))
      assert.strictEqual(yield* lock.withLock("a")(() => Effect.succeed("free")), "free")
    }).pipe(Effect.provide(guard()))
  )
})

describe("a bell", () => {
  it.effect("is heard when it rings, when it has rung, and not after its time", () =>
    Effect.gen(function* () {
      const context = yield* Effect.context<never>()
      const bell = new Bell(context)
      const heard = yield* fork(bell.suspend(1000))
      assert.isTrue(bell.openUnsafe())
      assert.isFalse(bell.openUnsafe())
      assert.isTrue(yield* Fiber.join(heard))
      bell.openUnsafe()
      assert.isTrue(yield* bell.suspend(1000))
      const late = yield* fork(bell.suspend(1000))
      yield* TestClock.adjust(1000)
      assert.isFalse(yield* Fiber.join(late))
      const interrupted = yield* fork(bell.suspend(1000))
      yield* Fiber.interrupt(interrupted)
      assert.isUndefined(bell.line)
    })
  )
})

describe("lines", () => {
  it("know their first, however many have left from before, between and behind", () => {
    const lines = makeLines<{ readonly n: number }>()
    const all = Array.from({ length: 1000 }, (_, n) => ({ n }))
    for (const one of all) {
      lines.add("long", one)
      lines.add("long", one)
    }
    const [first] = all
    for (let n = 0; n < 1000; n++) {
      assert.strictEqual(
        lines.first("long"),
        all.find((one) => [...lines.all("long")].includes(one))
      )
      const one = all[(n * 7) % 1000]
      if (one === undefined || first === undefined) return assert.fail("there are a thousand")
      assert.isNumber(lines.remove("long", one))
      assert.isUndefined(lines.remove("long", one))
    }
    assert.isTrue(lines.isEmpty())
    assert.deepStrictEqual([...lines.all("long")], [])
  })

  it("know who stands under a name, however many names come and go, few or many at once", () => {
    const lines = makeLines<{ readonly n: number }>()
    const model = new Map<string, Array<{ readonly n: number }>>()
    const check = () => {
      assert.sameMembers([...lines.names()], [...model.keys()])
      assert.strictEqual(lines.isEmpty(), model.size === 0)
      for (const name of names) {
        assert.strictEqual(lines.first(name), model.get(name)?.[0])
        assert.deepStrictEqual([...lines.all(name)], model.get(name) ?? [])
      }
    }
    const names = ["a", "b", "c", "d", "e"]
    const values = names.map((_, n) => ({ n }))
    let seed = 1
    const draw = (below: number) => {
      seed = (seed * 48271) % 2147483647
      return seed % below
    }
    for (let n = 0; n < 3000; n++) {
      const [name, value] = [names[draw(n % 700 < 350 ? 2 : 5)], values[draw(5)]]
      if (name === undefined || value === undefined) return assert.fail("there are five")
      const line = model.get(name) ?? []
      if (draw(2) === 0) {
        if (!line.includes(value)) model.set(name, [...line, value])
        assert.strictEqual(lines.add(name, value), model.get(name)?.[0] === value)
      } else {
        const left = line.filter((one) => one !== value)
        assert.strictEqual(lines.remove(name, value), line.includes(value) ? left.length : undefined)
        if (left.length === 0) model.delete(name)
        else model.set(name, left)
      }
      check()
    }
  })
})
