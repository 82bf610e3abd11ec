/** The fused guard: whose the resource is, to itself, to the composed guard, and to a Redis that forgets. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import type { Ending, IdempotencyRequest } from "effect-saga"
import { Redis as Client } from "ioredis"
import { fenceKey, ledgerKey, lockKey, recordKey } from "../../src/layers/redis/RedisKeys.ts"
import { servers } from "../servers/inject.ts"
import * as PrivateRedis from "../servers/Redis.ts"
import { asked, composed, fused, type Guard, marksOn, own, plain, request, result, serve } from "./GuardWorld.ts"

describe.skipIf(servers().redis === null)("the fused guard", () => {
  it.live("shares locks, fences and records with the composed guard", () =>
    Effect.gen(function* () {
      const guards = [yield* fused({ wait: "100 millis" }), yield* composed] as const
      for (const [one, two] of [guards, [guards[1], yield* fused({ wait: "100 millis" })] as const]) {
        const asks = request()
        const fence = yield* Effect.scoped(
          Effect.gen(function* () {
            const admission = yield* one.enter(asks)
            if (admission._tag !== "Admitted") return yield* Effect.die("nothing was recorded")
            const shut = yield* Effect.exit(
              Effect.timeout(Effect.scoped(two.enter(request({ resources: asks.resources }))), "300 millis")
            )
            assert.isTrue(Exit.isFailure(shut))
            yield* admission.commit(result("shared"))
            return admission.lease.fence
          })
        )
        assert.strictEqual(yield* serve(two, asks), "shared")
        const next = yield* Effect.scoped(two.enter(request({ resources: asks.resources })))
        assert.isAbove(next._tag === "Admitted" ? next.lease.fence : 0, fence)
      }
    }).pipe(Effect.scoped)
  )

  it.live("leaves neither lock nor mark of a request that is interrupted at any moment of its way in", () =>
    Effect.gen(function* () {
      const [guard, client] = [yield* fused(), yield* plain]
      const resources = [own("r")]
      for (let i = 0; i < 40; i++) {
        const entering = yield* Effect.forkChild(
          Effect.scoped(Effect.andThen(guard.enter(request({ resources })), Effect.never)),
          { startImmediately: true }
        )
        yield* Effect.sleep(i * 0.05)
        yield* Fiber.interrupt(entering)
      }
      const admission = yield* Effect.scoped(
        Effect.tap(guard.enter(request({ resources })), (one) =>
          one._tag === "Admitted" ? one.commit({ _tag: "Nothing" }) : Effect.void
        )
      )
      assert.deepStrictEqual(admission._tag === "Admitted" ? admission.abandoned : ["replayed"], [])
      const left = yield* asked(() =>
        Promise.all([client.exists(...resources.map(lockKey)), marksOn(client, resources)])
      )
      assert.deepStrictEqual(left, [0, 0])
    }).pipe(Effect.scoped)
  )

  it.live("reports the saga whose owner is gone until one has succeeded", () =>
    Effect.gen(function* () {
      const guard = yield* fused()
      const dead = request()
      // Its scope closes without an end, as when its process dies.
      yield* Effect.scoped(guard.enter(dead))
      const enter = (ending: Ending) =>
        Effect.scoped(
          Effect.gen(function* () {
            const admission = yield* guard.enter(request({ resources: dead.resources }))
            if (admission._tag !== "Admitted") return yield* Effect.die("nothing was recorded")
            yield* admission.commit(ending)
            return admission.abandoned.map(({ sagaId }) => sagaId)
          })
        )
      assert.deepStrictEqual(yield* enter({ _tag: "Nothing" }), [dead.sagaId])
      assert.deepStrictEqual(yield* enter(result("one")), [dead.sagaId])
      assert.deepStrictEqual(yield* enter(result("two")), [])
    }).pipe(Effect.scoped)
  )

  it.live("refuses the end of an owner that another has replaced, and touches nothing of the other's", () =>
    Effect.gen(function* () {
      const [guard, other, client] = [yield* fused(), yield* fused(), yield* plain]
      const [one, two] = [request(), request()]
      const shared = { resources: one.resources }
      const open = yield* Scope.make()
      const first = yield* Scope.provide(guard.enter(one), open)
      if (first._tag !== "Admitted") return yield* Effect.die("nothing was recorded")
      yield* asked(() => client.del(...first.lease.resources.map(lockKey)))
      const second = yield* Effect.scope.pipe(
        Effect.flatMap((scope) => Scope.provide(other.enter({ ...two, ...shared }), scope))
      )
      if (second._tag !== "Admitted") return yield* Effect.die("nothing was recorded")
      const late = yield* Effect.flip(first.commit(result("late")))
      assert.strictEqual(late._tag === "LockError" ? late.reason._tag : late._tag, "LockLost")
      yield* Scope.close(open, Exit.void)
      assert.strictEqual(yield* asked(() => client.get(lockKey(shared.resources[0] ?? ""))), second.lease.token)
      assert.isTrue(yield* second.commit(result("second")))
      assert.strictEqual(yield* asked(() => client.exists(recordKey(one))), 0)
    }).pipe(Effect.scoped)
  )

  it.live("draws fences above what it finds, be it of a fence, of a ledger or of the clock", () =>
    Effect.gen(function* () {
      const [guard, client] = [yield* fused(), yield* plain]
      const ahead = (Date.now() + 3_600_000) * 1000
      // The fence after that of whoever was admitted is set aside for it to undo with.
      for (const [key, above] of [
        [fenceKey, 1],
        [ledgerKey, 2]
      ] as const) {
        const one = request()
        yield* asked(() => client.set(key(one.resources[0] ?? ""), `${ahead}`))
        const admission = yield* Effect.scoped(guard.enter(one))
        assert.strictEqual(admission._tag === "Admitted" ? admission.lease.fence : 0, ahead + above)
      }
    }).pipe(Effect.scoped)
  )
})

describe.skipIf(servers().redis === null)("the fused guard, when its Redis", () => {
  const withRedis = (
    test: (
      guard: Guard,
      server: Awaited<ReturnType<typeof PrivateRedis.start>>
    ) => Effect.Effect<void, unknown, Scope.Scope>
  ) =>
    Effect.gen(function* () {
      const server = yield* Effect.acquireRelease(Effect.promise(PrivateRedis.start), (one) => Effect.promise(one.stop))
      yield* test(yield* fused({ wait: "2 seconds" }, server.url), server)
    }).pipe(Effect.scoped)
  const enterAdmitted = (guard: Guard, one: IdempotencyRequest) =>
    Effect.flatMap(guard.enter(one), (admission) =>
      admission._tag === "Admitted" ? Effect.succeed(admission) : Effect.die("nothing was recorded")
    )

  it.live(
    "forgets everything, ends nothing of an owner it does not know, and draws higher fences still",
    () =>
      withRedis((guard, server) =>
        Effect.gen(function* () {
          const client = yield* Effect.acquireRelease(
            Effect.sync(() => new Client(server.url)),
            (one) => Effect.sync(() => one.disconnect())
          )
          const one = request()
          const first = yield* enterAdmitted(guard, one)
          yield* asked(() => client.flushall())
          assert.strictEqual((yield* Effect.flip(first.commit(result("late"))))._tag, "LockError")
        })
      ),
    30_000
  )

  it.live(
    "is gone when a saga ends: it has succeeded, unrecorded, as long as its lease lasts",
    () =>
      withRedis((guard, server) =>
        Effect.gen(function* () {
          const admission = yield* enterAdmitted(guard, request())
          yield* asked(server.kill)
          assert.isFalse(yield* admission.commit(result("one")))
        })
      ),
    30_000
  )

  it.live(
    "hangs: who wants in is told, and what was heard late is taken back",
    () =>
      withRedis((guard, server) =>
        Effect.gen(function* () {
          const one = request()
          server.pause()
          const error = yield* Effect.flip(Effect.scoped(guard.enter(one)))
          assert.strictEqual(error._tag, "IdempotencyError")
          server.resume()
          yield* Effect.sleep("500 millis")
          const admission = yield* enterAdmitted(guard, request({ resources: one.resources }))
          assert.deepStrictEqual(admission.abandoned, [])
        })
      ),
    30_000
  )
})
