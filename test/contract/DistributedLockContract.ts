/** What every lock does. Each test takes resources of its own, so that one server serves them all. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, type Layer, Scope } from "effect"
import { DistributedLock, type LockError } from "effect-saga"

let names = 0
const fresh = () => `lock-${process.pid}-${Date.now()}-${++names}`

/** The lock under test waits 300 ms. */
export const distributedLockContract = (name: string, layer: Layer.Layer<DistributedLock, unknown>) =>
  describe(`DistributedLock: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true, timeout: 60_000 })((test) => {
      test.effect("gives a free resource at once", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          const lease = yield* Effect.scoped(lock.acquire(resource))
          assert.deepStrictEqual(lease.resources, [resource])
          assert.isTrue(lease.exclusive)
          assert.isAbove(lease.fence, 0)
        })
      )

      test.effect("is free again after the scope, whether it ended well, failed or died", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          for (const end of [Effect.void, Effect.fail("no"), Effect.die("bug")]) {
            yield* Effect.exit(lock.withLock(resource)(() => end))
          }
          assert.strictEqual(yield* lock.withLock(resource)(() => Effect.succeed(1)), 1)
        })
      )

      test.effect("is free again after its holder was interrupted", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          const held = yield* Deferred.make<void>()
          const holder = yield* Effect.forkChild(
            lock.withLock(resource)(() => Effect.andThen(Deferred.succeed(held, undefined), Effect.never))
          )
          yield* Deferred.await(held)
          yield* Fiber.interrupt(holder)
          assert.isTrue(Exit.isSuccess(yield* Effect.exit(Effect.scoped(lock.acquire(resource)))))
        })
      )

      test.effect("fails with LockTimeout when the wait limit has passed, and leaves the holder alone", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          yield* lock.withLock(resource)((lease) =>
            Effect.gen(function* () {
              const error = yield* Effect.flip(Effect.scoped(lock.acquire(resource)))
              assert.strictEqual(error.reason._tag, "LockTimeout")
              assert.isAbove(yield* lease.advance(), lease.fence)
            })
          )
        })
      )

      test.effect("never has two holders, and serves all who come within the limit", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          let inside = 0
          let most = 0
          let served = 0
          const critical = Effect.gen(function* () {
            most = Math.max(most, ++inside)
            yield* Effect.yieldNow
            inside--
            served++
          })
          yield* Effect.all(
            Array.from({ length: 50 }, () => lock.withLock(resource)(() => critical)),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual([most, served], [1, 50])
        })
      )

      test.effect("serves waiters of one process in the order of arrival", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          const order: Array<number> = []
          yield* Effect.all(
            Array.from({ length: 20 }, (_, i) => lock.withLock(resource)(() => Effect.sync(() => order.push(i)))),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(
            order,
            Array.from({ length: 20 }, (_, i) => i)
          )
        })
      )

      test.effect("issues fences that rise with every lease and every advance", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          const fences: Array<number> = []
          for (let i = 0; i < 10; i++) {
            yield* lock.withLock(resource)((lease) =>
              Effect.gen(function* () {
                fences.push(lease.fence, yield* lease.advance())
              })
            )
          }
          assert.deepStrictEqual(
            fences,
            [...new Set(fences)].sort((a, b) => a - b)
          )
        })
      )

      test.effect("starts above the floor that a store reported, and so do later leases", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          const floor = yield* lock.withLock(resource)((lease) => {
            const reported = lease.fence + 3_600_000_000
            return Effect.map(lease.advance(reported), (fence) => {
              assert.isAtLeast(fence, reported)
              return fence
            })
          })
          assert.isAbove((yield* Effect.scoped(lock.acquire(resource))).fence, floor)
        })
      )

      test.effect("takes several resources all or none, without deadlock", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const [a, b, c] = [fresh(), fresh(), fresh()]
          yield* lock.withLock(b)(() => Effect.flip(Effect.scoped(lock.acquire(a, b, c))))
          yield* Effect.all(
            [
              [a, b],
              [b, a],
              [c, a],
              [b, c],
              [a, b, c]
            ].map((names) => lock.withLock(...names)(() => Effect.yieldNow)),
            { concurrency: "unbounded" }
          )
          const lease = yield* Effect.scoped(lock.acquire(c, a, b, a))
          assert.deepStrictEqual(lease.resources, [a, b, c].sort())
        })
      )

      test.effect("refuses a name it cannot lock", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          for (const names of [[], [""], ["x".repeat(1025)]]) {
            const error = yield* Effect.flip(Effect.scoped(lock.acquire(...names)))
            assert.strictEqual(error.reason._tag, "InvalidResource")
          }
        })
      )

      test.effect("tells how long the lease surely lasts", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          yield* lock.withLock(fresh())((lease) =>
            Effect.map(lease.remaining, (left) => assert.isAbove(Duration.toMillis(left), 0))
          )
        })
      )

      test.effect("gives every lease a token of its own", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          const tokens = yield* Effect.all(
            Array.from({ length: 10 }, () => lock.withLock(resource)((lease) => Effect.succeed(lease.token)))
          )
          assert.strictEqual(new Set(tokens).size, 10)
        })
      )

      test.effect("lets its own holder in no second time", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const [resource, other] = [fresh(), fresh()]
          const inner = lock.withLock(other, resource)(() => Effect.void)
          const error = yield* Effect.flip(lock.withLock(resource)(() => inner))
          assert.strictEqual(error.reason._tag, "LockTimeout")
          yield* inner
        })
      )

      test.effect("has nothing left of a released lease, and draws no fence for it", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const lease = yield* Effect.scoped(lock.acquire(fresh()))
          assert.strictEqual(Duration.toMillis(yield* lease.remaining), 0)
          assert.strictEqual((yield* Effect.flip(lease.advance())).reason._tag, "LockLost")
        })
      )

      test.effect("does not let who gave up stand in the way, though his scope is still open", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          const open = yield* Scope.make()
          yield* lock.withLock(resource)(() => Effect.flip(Scope.provide(lock.acquire(resource), open)))
          yield* lock.withLock(resource)(() => Effect.void)
          yield* Scope.close(open, Exit.void)
        })
      )

      test.effect("lets the next in when a waiter was interrupted", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const resource = fresh()
          const [held, end] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
          const holder = yield* Effect.forkChild(
            lock.withLock(resource)(() => Effect.andThen(Deferred.succeed(held, undefined), Deferred.await(end)))
          )
          yield* Deferred.await(held)
          const waiters = yield* Effect.forEach([1, 2, 3], () =>
            Effect.forkChild(
              lock.withLock(resource)(() => Effect.succeed("in")),
              { startImmediately: true }
            )
          )
          yield* Fiber.interruptAll(waiters.slice(0, 2))
          yield* Deferred.succeed(end, undefined)
          yield* Fiber.join(holder)
          assert.deepStrictEqual(yield* Effect.forEach(waiters.slice(2), Fiber.join), ["in"])
        })
      )

      test.effect("keeps names apart whatever they are made of", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const base = fresh()
          const names = [base, `${base}:`, `{${base}}`, `${base}\n`, `"${base}"`, `${base} ü 猫`, base.toUpperCase()]
          const all = names.reduceRight(
            (inner, name) => lock.withLock(name)(() => inner),
            Effect.succeed("all held at once").pipe(Effect.mapError((none: never): LockError => none))
          )
          assert.strictEqual(yield* all, "all held at once")
          for (const name of names) {
            const error = yield* Effect.flip(lock.withLock(name)(() => Effect.scoped(lock.acquire(name))))
            assert.strictEqual(error.reason._tag, "LockTimeout", name)
          }
        })
      )

      test.effect("gives back what the body gave, and its own error", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          assert.strictEqual(yield* lock.withLock(fresh())(() => Effect.succeed(42)), 42)
          assert.strictEqual(yield* Effect.flip(lock.withLock(fresh())(() => Effect.fail("its own"))), "its own")
        })
      )

      test.effect("gives several resources one fence, above every one of theirs before", () =>
        Effect.gen(function* () {
          const lock = yield* DistributedLock
          const names = [fresh(), fresh(), fresh()]
          const far = yield* lock.withLock(names[1] ?? "")((lease) => lease.advance(lease.fence + 60_000_000))
          const { fence } = yield* Effect.scoped(lock.acquire(...names))
          assert.isAbove(fence, far)
          for (const name of names) assert.isAbove((yield* Effect.scoped(lock.acquire(name))).fence, fence)
        })
      )
    })
  })
