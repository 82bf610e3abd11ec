/** The fused guard: what it asks of Redis, and who is served when. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option } from "effect"
import * as Schema from "effect/Schema"
import { IoRedis, Saga, SagaLive, SagaMemory, Step } from "effect-saga"
import { lockKey } from "../../src/layers/redis/RedisKeys.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import { servers } from "../servers/inject.ts"
import {
  asked,
  commandsDuring,
  composed,
  fused,
  type Guard,
  marksOn,
  own,
  plain,
  quiet,
  request,
  serve,
  url
} from "./GuardWorld.ts"

describe.skipIf(servers().redis === null)("the fused guard", () => {
  it.live("asks Redis twice for a first request and once for a repeat, whatever kind of key", () =>
    Effect.gen(function* () {
      const guard = yield* fused()
      // Redis is given each kind's scripts once.
      for (const derived of [false, true]) yield* serve(guard, request({ derived }))
      // Nor does it listen yet: its connection says what it has to say first.
      yield* quiet
      for (const one of [request(), request({ derived: true }), request({ resources: [own("a"), own("b")] })]) {
        assert.deepStrictEqual(yield* commandsDuring(serve(guard, one)), ["EVALSHA", "EVALSHA"])
        assert.deepStrictEqual(yield* commandsDuring(serve(guard, one)), ["EVALSHA"])
      }
    }).pipe(Effect.scoped)
  )

  it.live("serves a request whose resources are named twice and out of order, and leaves no lock and no mark", () =>
    Effect.gen(function* () {
      const [guard, client] = [yield* fused(), yield* plain]
      const [one, two] = [own("a"), own("b")]
      for (const derived of [false, true]) {
        const asking = request({ resources: [two, one, two], derived, key: own("key") })
        assert.strictEqual(yield* serve(guard, asking), "ran")
        assert.strictEqual(yield* serve(guard, asking), "one")
        assert.strictEqual(yield* asked(() => client.exists(lockKey(one), lockKey(two))), 0)
        assert.strictEqual(yield* asked(() => marksOn(client, [one, two])), 0)
      }
    }).pipe(Effect.scoped)
  )

  it.live("lets one of two sagas run that have the same id, of one process or of two", () =>
    Effect.gen(function* () {
      const [guard, other] = [yield* fused(), yield* fused({ wait: "100 millis" })]
      const resources = [own("shared")]
      const enter = (by: Guard) => Effect.scoped(by.enter({ ...request({ resources }), sagaId: "the same" }))
      yield* Effect.scoped(
        Effect.gen(function* () {
          assert.strictEqual((yield* guard.enter({ ...request({ resources }), sagaId: "the same" }))._tag, "Admitted")
          const late = yield* Effect.flip(enter(other))
          assert.strictEqual(late.reason._tag, "LockTimeout")
          assert.isTrue(Option.isNone(yield* Effect.timeoutOption(enter(guard), "100 millis")))
        })
      )
      assert.strictEqual((yield* enter(other))._tag, "Admitted")
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
      yield* quiet
      assert.deepStrictEqual(yield* commandsDuring(run(id)), ["EVALSHA", "EVALSHA"])
      assert.deepStrictEqual(yield* commandsDuring(run(id)), ["GET"])
    }).pipe(Effect.scoped)
  )

  it.live("knows a repeat by what was asked for, whatever the saga did to its payload", () =>
    Effect.gen(function* () {
      const saga = Saga.make("Careless", {
        payload: Schema.Struct({ id: Schema.String, tags: Schema.mutable(Schema.Array(Schema.String)) }),
        success: Schema.Finite,
        resource: ({ id }) => id,
        steps: [],
        run: ({ tags }) => Effect.sync(() => tags.push("seen"))
      })
      const onRedis = SagaLive.layer.pipe(Layer.provide([IoRedis.layerUrl(url), PgliteClient.layer]))
      for (const layer of [onRedis, SagaMemory.layer]) {
        const live = yield* Layer.build(Layer.fresh(layer))
        const id = own("careless")
        const run = () =>
          saga.executeReceipt({ id, tags: ["a"] }, { idempotencyKey: id }).pipe(Effect.provideContext(live))
        assert.deepInclude(yield* run(), { value: 2, replayed: false })
        assert.deepInclude(yield* run(), { value: 2, replayed: true })
      }
    }).pipe(Effect.scoped)
  )

  it.live("knows a repeat by what was asked for, though its caller changes the payload in the same turn", () =>
    Effect.gen(function* () {
      const saga = Saga.make("Passed on", {
        payload: Schema.Struct({ id: Schema.String, tags: Schema.Unknown }),
        success: Schema.String,
        resource: ({ id }) => id,
        steps: [],
        run: () => Effect.succeed("done")
      })
      const live = yield* Layer.build(SagaLive.layer.pipe(Layer.provide([IoRedis.layerUrl(url), PgliteClient.layer])))
      for (const change of ["more", 1n]) {
        const [id, tags]: [string, Array<unknown>] = [own("changed"), [1, 2]]
        const first = Effect.runPromiseWith(live)(saga.executeReceipt({ id, tags }))
        tags.push(change)
        assert.deepInclude(yield* asked(() => first), { value: "done", replayed: false })
        const again = saga.executeReceipt({ id, tags: [1, 2] })
        assert.deepInclude(yield* Effect.provideContext(again, live), { value: "done", replayed: true })
      }
    }).pipe(Effect.scoped)
  )

  it.live(
    "sets the fence of undoing aside: a saga that fails asks twice too, and its undo carries a higher fence",
    () =>
      Effect.gen(function* () {
        const fences: Array<number> = []
        const note = Effect.map(Step.SagaRun, ({ fence }) => void fences.push(fence))
        const put = Step.make("put", { input: Schema.String, execute: () => note, compensate: () => note })
        const refuse = Step.make("refuse", {
          input: Schema.String,
          error: Schema.Literal("refused"),
          isTransient: () => false,
          notApplied: () => true,
          execute: () => Effect.fail("refused" as const),
          compensate: () => Effect.void
        })
        const saga = Saga.make("Refused", {
          payload: Schema.String,
          error: Schema.Literal("refused"),
          resource: (id) => id,
          steps: [put, refuse],
          run: (id) => Effect.andThen(put(id), refuse(id))
        })
        const live = yield* Layer.build(SagaLive.layer.pipe(Layer.provide([IoRedis.layerUrl(url), PgliteClient.layer])))
        const id = own("refused")
        const run = (key: string) => Effect.provideContext(saga.execute(id, { idempotencyKey: key }), live)
        yield* Effect.exit(run(own("warm")))
        assert.deepStrictEqual(yield* commandsDuring(run(own("first")), id), ["EVALSHA", "EVALSHA"])
        yield* Effect.exit(run(own("next")))
        assert.lengthOf(fences, 6)
        assert.deepStrictEqual(
          fences,
          [...new Set(fences)].sort((a, b) => a - b)
        )
      }).pipe(Effect.scoped)
  )

  it.live("draws further fences from Redis, each above the one before, and none once it is released", () =>
    Effect.gen(function* () {
      const guard = yield* fused()
      const drawn = yield* Effect.scoped(
        Effect.gen(function* () {
          const admission = yield* guard.enter(request())
          if (admission._tag !== "Admitted") return yield* Effect.die("it was recorded before")
          const { lease } = admission
          const fences = [lease.fence, yield* lease.advance(), yield* lease.advance(), yield* lease.advance()]
          yield* admission.commit({ _tag: "Nothing" })
          return { fences, after: yield* Effect.exit(lease.advance()) }
        })
      )
      assert.deepStrictEqual(
        drawn.fences,
        [...new Set(drawn.fences)].sort((a, b) => a - b)
      )
      assert.strictEqual(drawn.after._tag, "Failure")
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
      yield* quiet
      assert.deepStrictEqual(yield* commandsDuring(Effect.sleep("1 second")), [])
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.joinAll([holder, ...waiters])
      assert.deepStrictEqual(
        served,
        Array.from({ length: 50 }, (_, i) => i)
      )
    }).pipe(Effect.scoped)
  )

  it.live("asks once for all in its process who want the very same", () =>
    Effect.gen(function* () {
      const guard = yield* fused()
      yield* serve(guard, request())
      // Whoever waits looks once when his process has begun to listen.
      yield* quiet
      const one = request()
      const work = Effect.sleep("20 millis")
      const answers: Array<string> = []
      const asks = Effect.forEach(
        Array.from({ length: 20 }, (_, i) => (i % 4 === 3 ? { ...one, fingerprint: "another" } : one)),
        (asked) =>
          serve(guard, asked, "the result", work).pipe(
            Effect.catchTag("IdempotencyError", ({ reason }) => Effect.succeed(reason._tag)),
            Effect.tap((answer) => Effect.sync(() => answers.push(answer)))
          ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(yield* commandsDuring(asks, one.key), ["EVALSHA", "EVALSHA"])
      const of = (answer: string) => answers.filter((one) => one === answer).length
      assert.deepStrictEqual([of("ran"), of("the result"), of("KeyReused")], [1, 14, 5])
    }).pipe(Effect.scoped)
  )

  it.live("looks for what is recorded of those who come while another process has the lock", () =>
    Effect.gen(function* () {
      const [here, there] = [yield* fused(), yield* fused()]
      const [one, resource] = [request(), own("shared")]
      const end = yield* Deferred.make<void>()
      const holder = yield* Effect.forkChild(
        serve(here, request({ resources: [resource] }), "other", Deferred.await(end)),
        { startImmediately: true }
      )
      yield* Effect.sleep("50 millis")
      // The first has asked before there was a record; the same key, of another resource, is recorded since.
      const first = yield* Effect.forkChild(serve(there, { ...one, resources: [resource] }), { startImmediately: true })
      yield* Effect.sleep("50 millis")
      yield* serve(here, one, "the result")
      const second = serve(there, { ...one, resources: [resource] })
      assert.strictEqual(yield* Effect.timeout(second, "2 seconds"), "the result")
      yield* Deferred.succeed(end, undefined)
      assert.strictEqual(yield* Fiber.join(first), "the result")
      yield* Fiber.join(holder)
    }).pipe(Effect.scoped)
  )

  it.live("lets nobody poll who waits in another process, for a result or for the lock", () =>
    Effect.gen(function* () {
      const [here, there] = [yield* fused(), yield* fused()]
      const one = request()
      const end = yield* Deferred.make<void>()
      const holder = yield* Effect.forkChild(serve(here, one, "the result", Deferred.await(end)), {
        startImmediately: true
      })
      yield* Effect.sleep("50 millis")
      const waiters = yield* Effect.forEach([one, request({ resources: one.resources }), one], (asks) =>
        Effect.forkChild(serve(there, asks), { startImmediately: true })
      )
      yield* quiet
      assert.deepStrictEqual(yield* commandsDuring(Effect.sleep("500 millis")), [])
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.join(holder)
      assert.deepStrictEqual(yield* Fiber.joinAll(waiters), ["the result", "ran", "the result"])
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

  for (const keyPrefix of ["", "prefixed:", "{prefixed}:"]) {
    it.live(`wakes who waits with the key though another is before him in his process, prefix: ${keyPrefix}`, () =>
      Effect.gen(function* () {
        const client = { keyPrefix }
        const [here, there] = [yield* fused({}, url, client), yield* fused({}, url, client)]
        const one = request()
        const [end, never] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const held = yield* Deferred.make<void>()
        const holding = Effect.andThen(Deferred.succeed(held, undefined), Deferred.await(never))
        const first = yield* Effect.forkChild(serve(here, one, "the result", Deferred.await(end)), {
          startImmediately: true
        })
        yield* Effect.sleep("50 millis")
        const other = yield* Effect.forkChild(serve(there, request({ resources: one.resources }), "other", holding), {
          startImmediately: true
        })
        yield* Effect.sleep("50 millis")
        const same = yield* Effect.forkChild(serve(there, one), { startImmediately: true })
        yield* Effect.sleep("50 millis")
        yield* Deferred.succeed(end, undefined)
        // The other holds the lock now, as soon as it is told, and would for ever.
        yield* Effect.timeout(Deferred.await(held), "2 seconds")
        assert.strictEqual(yield* Effect.timeout(Fiber.join(same), "2 seconds"), "the result")
        yield* Deferred.succeed(never, undefined)
        yield* Fiber.joinAll([first, other])
      }).pipe(Effect.scoped)
    )
  }
})
