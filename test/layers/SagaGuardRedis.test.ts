/** The fused guard: what it asks of Redis, and that it and the composed one are one guard to each other. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import * as Schema from "effect/Schema"
import {
  type Ending,
  type IdempotencyRequest,
  IoRedis,
  Saga,
  SagaGuard,
  SagaGuardRedis,
  SagaLive,
  Step
} from "effect-saga"
import { Redis as Client } from "ioredis"
import * as ComposedGuard from "../../src/layers/guard/ComposedGuard.ts"
import * as RedisIdempotency from "../../src/layers/redis/RedisIdempotency.ts"
import { fenceKey, lockKey, openKey, recordKey, writerKey } from "../../src/layers/redis/RedisKeys.ts"
import * as RedisLock from "../../src/layers/redis/RedisLock.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import { servers } from "../servers/inject.ts"
import * as PrivateRedis from "../servers/Redis.ts"

const url = servers().redis ?? ""
let names = 0
const own = (what: string) => `${what}-${process.pid}-${++names}`
const request = (changes: Partial<IdempotencyRequest> = {}): IdempotencyRequest => ({
  saga: "Write",
  sagaId: own("saga"),
  key: own("key"),
  derived: false,
  fingerprint: "print",
  resources: [own("r")],
  ...changes
})
const result = (text: string): Ending => ({ _tag: "Result", text })
type Guard = SagaGuard["Service"]

/** Each is a process of its own to Redis. */
const fused = (options: SagaGuardRedis.SagaGuardRedisOptions = {}, at = url) =>
  Effect.map(
    Layer.build(Layer.fresh(SagaGuardRedis.layerWith(options).pipe(Layer.provide(IoRedis.layerUrl(at))))),
    (built) => Context.get(built, SagaGuard)
  )
const composed = Effect.map(
  Layer.build(
    Layer.fresh(
      ComposedGuard.layer.pipe(
        Layer.provide([RedisLock.layer, RedisIdempotency.layer]),
        Layer.provide(Layer.fresh(IoRedis.layerUrl(url)))
      )
    )
  ),
  (built) => Context.get(built, SagaGuard)
)
const plain = Effect.acquireRelease(
  Effect.sync(() => new Client(url)),
  (client) => Effect.sync(() => client.disconnect())
)
const asked = <A>(work: () => Promise<A>) => Effect.promise(work)

/** Enters, does its work and commits: the recorded result, or "ran". */
const serve = (guard: Guard, one: IdempotencyRequest, text = "one", work: Effect.Effect<unknown> = Effect.void) =>
  Effect.scoped(
    Effect.gen(function* () {
      const admission = yield* guard.enter({ ...one, sagaId: own("saga") })
      if (admission._tag === "Replayed") return admission.result
      yield* work
      yield* admission.commit(result(text))
      return "ran"
    })
  )

/** The commands that clients send while `work` runs, without those inside scripts. */
const commandsDuring = <A, E, R>(work: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const client = yield* plain
    const monitor = yield* asked(() => client.monitor())
    const seen: Array<string> = []
    monitor.on("monitor", (_time: string, args: ReadonlyArray<string>, source: string) => {
      if (source !== "lua") seen.push(String(args[0]).toUpperCase())
    })
    yield* Effect.exit(work)
    yield* asked(() => client.ping("the end"))
    while (!seen.includes("PING")) yield* Effect.sleep("2 millis")
    monitor.disconnect()
    return seen.filter((command) => command !== "PING")
  }).pipe(Effect.scoped)

describe.skipIf(servers().redis === null)("the fused guard", () => {
  it.live("asks Redis twice for a first request and once for a repeat, whatever kind of key", () =>
    Effect.gen(function* () {
      const guard = yield* fused()
      yield* serve(guard, request())
      for (const one of [request(), request({ derived: true }), request({ resources: [own("a"), own("b")] })]) {
        assert.deepStrictEqual(yield* commandsDuring(serve(guard, one)), ["EVALSHA", "EVALSHA"])
        assert.deepStrictEqual(yield* commandsDuring(serve(guard, one)), ["EVALSHA"])
      }
    }).pipe(Effect.scoped)
  )

  it.live("is what a saga with shipped defaults has: two questions, and one for a repeat", () =>
    Effect.gen(function* () {
      const step = Step.make("step", {
        input: Schema.String,
        execute: () => Effect.void,
        compensate: () => Effect.void
      })
      const saga = Saga.make("Two", {
        payload: Schema.String,
        resource: (id) => id,
        steps: [step],
        run: (id) => step(id)
      })
      const live = yield* Layer.build(SagaLive.layer.pipe(Layer.provide([IoRedis.layerUrl(url), PgliteClient.layer])))
      const run = (id: string) => Effect.provideContext(saga.execute(id, { idempotencyKey: id }), live)
      yield* run(own("warm"))
      const id = own("counted")
      assert.deepStrictEqual(yield* commandsDuring(run(id)), ["EVALSHA", "EVALSHA"])
      assert.deepStrictEqual(yield* commandsDuring(run(id)), ["EVALSHA"])
    }).pipe(Effect.scoped)
  )

  it.live("lets nobody poll while fifty wait, and serves them in the order of arrival", () =>
    Effect.gen(function* () {
      const guard = yield* fused()
      const resources = [own("r")]
      const end = yield* Deferred.make<void>()
      const served: Array<number> = []
      const holder = yield* Effect.forkChild(serve(guard, request({ resources }), "0", Deferred.await(end)), {
        startImmediately: true
      })
      yield* Effect.sleep("50 millis")
      const waiters = yield* Effect.forEach(Array.from({ length: 50 }), (_, i) =>
        Effect.forkChild(
          serve(
            guard,
            request({ resources }),
            `${i}`,
            Effect.sync(() => void served.push(i))
          ),
          {
            startImmediately: true
          }
        )
      )
      yield* Effect.sleep("200 millis")
      assert.deepStrictEqual(yield* commandsDuring(Effect.sleep("1 second")), [])
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.joinAll([holder, ...waiters])
      assert.deepStrictEqual(
        served,
        Array.from({ length: 50 }, (_, i) => i)
      )
    }).pipe(Effect.scoped)
  )

  it.live(
    "gives everybody in every process who waits with the key its result, and the lock to the others in turn",
    () =>
      Effect.gen(function* () {
        const guards = [yield* fused(), yield* fused(), yield* composed]
        const one = request()
        const end = yield* Deferred.make<void>()
        let running = 0
        const alone = Effect.gen(function* () {
          assert.strictEqual(++running, 1)
          yield* Effect.sleep("1 millis")
          running--
        })
        const first = yield* Effect.forkChild(
          serve(guards[0] ?? (yield* composed), one, "the result", Deferred.await(end)),
          { startImmediately: true }
        )
        yield* Effect.sleep("50 millis")
        const entries = guards.flatMap((guard, process) =>
          Array.from({ length: 30 }, (_, i) => ({ guard, another: i % 3 === 0 ? `${process} ${i}` : undefined }))
        )
        const all = yield* Effect.forkChild(
          Effect.forEach(
            entries,
            ({ another, guard }) =>
              another === undefined
                ? serve(guard, one, "a second result", alone)
                : serve(guard, request({ resources: one.resources }), another, alone),
            { concurrency: "unbounded" }
          ),
          { startImmediately: true }
        )
        yield* Effect.sleep("200 millis")
        yield* Deferred.succeed(end, undefined)
        assert.strictEqual(yield* Fiber.join(first), "ran")
        const answers = yield* Fiber.join(all)
        for (const [i, { another }] of entries.entries()) {
          assert.strictEqual(answers[i], another === undefined ? "the result" : "ran")
        }
      }).pipe(Effect.scoped)
  )

  it.live("wakes who waits with the key though somebody of another key is before him in his process", () =>
    Effect.gen(function* () {
      const [here, there] = [yield* fused(), yield* fused()]
      const one = request()
      const [end, never] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const first = yield* Effect.forkChild(serve(here, one, "the result", Deferred.await(end)), {
        startImmediately: true
      })
      yield* Effect.sleep("50 millis")
      const other = yield* Effect.forkChild(
        serve(there, request({ resources: one.resources }), "other", Deferred.await(never)),
        { startImmediately: true }
      )
      yield* Effect.sleep("50 millis")
      const same = yield* Effect.forkChild(serve(there, one), { startImmediately: true })
      yield* Effect.sleep("50 millis")
      yield* Deferred.succeed(end, undefined)
      // The other holds the lock now, and would for ever.
      assert.strictEqual(yield* Effect.timeout(Fiber.join(same), "2 seconds"), "the result")
      yield* Deferred.succeed(never, undefined)
      yield* Fiber.joinAll([first, other])
    }).pipe(Effect.scoped)
  )

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
      const left = yield* asked(() => client.exists(...resources.flatMap((name) => [lockKey(name), openKey(name)])))
      assert.strictEqual(left, 0)
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

  it.live("draws fences above what it finds, be it of a fence, of a writer or of the clock", () =>
    Effect.gen(function* () {
      const [guard, client] = [yield* fused(), yield* plain]
      const ahead = (Date.now() + 3_600_000) * 1000
      for (const key of [fenceKey, writerKey]) {
        const one = request()
        yield* asked(() => client.set(key(one.resources[0] ?? ""), `${ahead}`))
        const admission = yield* Effect.scoped(guard.enter(one))
        assert.strictEqual(admission._tag === "Admitted" ? admission.lease.fence : 0, ahead + 1)
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
