/** The fused guard where something goes wrong in between: a reply lost, a request interrupted, a Redis that forgets. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, type Duration, Effect, Exit, Fiber, Layer } from "effect"
import { type Ending, type IdempotencyRequest, IoRedis, SagaGuard, SagaGuardRedis } from "effect-saga"
import { Redis as Client } from "ioredis"
import { readRecord } from "../../src/layers/redis/Records.ts"
import { lockKey, recordKey } from "../../src/layers/redis/RedisKeys.ts"
import { kindOf } from "../../src/layers/redis/SagaGuardScripts.ts"
import { servers } from "../servers/inject.ts"
import * as PrivateRedis from "../servers/Redis.ts"
import { type Fault, type Faults, faulty, lost, once } from "./FaultyRedis.ts"
import { marksOn } from "./GuardWorld.ts"

const url = servers().redis ?? ""
let names = 0
const own = (what: string) => `${what}-${process.pid}-${++names}`
const request = (changes: Partial<IdempotencyRequest> = {}): IdempotencyRequest => ({
  saga: "Write",
  sagaId: own("saga"),
  key: own("key"),
  derived: true,
  fingerprint: "print",
  resources: [own("r")],
  ...changes
})
const result = (text: string): Ending => ({ _tag: "Result", text })
type Guard = SagaGuard["Service"]
/** Each is a process of its own to Redis. */
const guardOn = (options: SagaGuardRedis.SagaGuardRedisOptions = {}, faults: Faults = {}, at = url) => {
  const guard = SagaGuardRedis.layerWith(options).pipe(
    Layer.provide(faulty(faults)),
    Layer.provide(IoRedis.layerUrl(at))
  )
  return Effect.map(Layer.build(Layer.fresh(guard)), (built) => Context.get(built, SagaGuard))
}
const clientOn = (at = url) =>
  Effect.acquireRelease(
    Effect.sync(() => new Client(at)),
    (client) => Effect.sync(() => client.disconnect())
  )
const asked = <A>(work: () => Promise<A>) => Effect.promise(work)
const left = (client: Client, { resources }: IdempotencyRequest) =>
  asked(() => Promise.all([client.exists(...resources.map((name) => lockKey(name))), marksOn(client, resources)]))

const serve = (guard: Guard, one: IdempotencyRequest, work: Effect.Effect<unknown> = Effect.void) =>
  Effect.scoped(
    Effect.gen(function* () {
      const admission = yield* guard.enter({ ...one, sagaId: own("saga") })
      if (admission._tag === "Replayed") return admission.result
      yield* work
      return yield* admission.commit(result("one"))
    })
  )

describe.skipIf(servers().redis === null)("the fused guard, for those who rely on another to ask", () => {
  const callers = () => request({ derived: false })

  it.live("looks for what is recorded when that one's question fails", () =>
    Effect.gen(function* () {
      const one = callers()
      assert.isTrue(yield* serve(yield* guardOn(), one))
      const late = Effect.andThen(Effect.sleep("100 millis"), lost)
      const guard = yield* guardOn({}, { before: once("enter", late) })
      // Whoever waits is woken once when this process has begun to listen.
      yield* Effect.sleep("300 millis")
      const [end, begun] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
      const first = yield* fork(Effect.flip(serve(guard, one)))
      const other = request({ derived: false, resources: one.resources })
      const work = Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(end))
      const between = yield* fork(serve(guard, other, work))
      const last = yield* fork(serve(guard, one))
      assert.strictEqual((yield* Fiber.join(first))._tag, "IdempotencyError")
      yield* Deferred.await(begun)
      assert.strictEqual(yield* Effect.timeout(Fiber.join(last), "2 seconds"), "one")
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.join(between)
    }).pipe(Effect.scoped)
  )

  it.live("looks for what is recorded when that one's end is refused", () =>
    Effect.gen(function* () {
      const [here, there, client] = [yield* guardOn(), yield* guardOn(), yield* clientOn()]
      const one = callers()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const admission = yield* there.enter(one)
          if (admission._tag !== "Admitted") return assert.fail("not admitted")
          yield* Effect.sleep("300 millis")
          const keys = yield* asked(() => client.keys(`*${one.resources[0]}*`))
          const held = yield* asked(() => client.keys(`*lock*${one.key}*`))
          assert.strictEqual(yield* asked(() => client.del(...keys, ...held)), 3)
          assert.isTrue(yield* serve(here, one))
          const last = yield* Effect.forkChild(serve(there, one), { startImmediately: true })
          yield* Effect.sleep("50 millis")
          assert.strictEqual((yield* Effect.flip(admission.commit(result("two"))))._tag, "LockError")
          // Its scope is still open.
          assert.strictEqual(yield* Effect.timeout(Fiber.join(last), "2 seconds"), "one")
        })
      )
    }).pipe(Effect.scoped)
  )
})

describe.skipIf(servers().redis === null)("the fused guard, when a reply is lost", () => {
  for (const replay of [true, false]) {
    it.live(`knows that a saga ended though others were admitted since${replay ? "" : ", without any record"}`, () =>
      Effect.gen(function* () {
        const [other, client] = [yield* guardOn(), yield* clientOn()]
        const one = request({ replay })
        const ends: Array<boolean | string> = []
        // Another key writes the resource, so that the record is void; then the same key writes its own over it.
        const meanwhile = Effect.gen(function* () {
          ends.push(yield* serve(other, request({ resources: one.resources })))
          ends.push(yield* serve(other, one))
        }).pipe(Effect.orDie, Effect.andThen(lost))
        const guard = yield* guardOn({}, { after: once("leave", meanwhile) })
        assert.strictEqual(yield* serve(guard, one), replay)
        assert.deepStrictEqual(ends, [true, replay])
        assert.deepStrictEqual(yield* left(client, one), [0, 0])
      }).pipe(Effect.scoped)
    )
  }

  it.live("stores an end that Redis never heard of, and releases with it", () =>
    Effect.gen(function* () {
      const [guard, client] = [yield* guardOn({}, { before: once("leave", lost) }), yield* clientOn()]
      const one = request()
      assert.isTrue(yield* serve(guard, one))
      assert.strictEqual(readRecord((yield* asked(() => client.get(recordKey(one)))) ?? "")?.text, "one")
      assert.deepStrictEqual(yield* left(client, one), [0, 0])
    }).pipe(Effect.scoped)
  )

  for (const [what, fault, options, reason] of [
    ["that nobody has the answer of", lost, {}, "IdempotencyStoreError"],
    ["whose answer came after its lease", Effect.sleep("150 millis"), { lease: "100 millis" }, "LockStoreError"]
  ] as const) {
    it.live(`takes back an admission ${what}`, () =>
      Effect.gen(function* () {
        const withdrawn = yield* Deferred.make<void>()
        const first = once("enter", fault)
        const after: Fault = (script) =>
          kindOf(script) === "withdraw" ? Effect.asVoid(Deferred.succeed(withdrawn, undefined)) : first(script)
        const [guard, client] = [yield* guardOn(options, { after }), yield* clientOn()]
        const one = request()
        const error = yield* Effect.flip(serve(guard, one))
        assert.strictEqual(error._tag === "OutcomeUnknown" ? error._tag : error.reason._tag, reason)
        yield* Effect.timeout(Deferred.await(withdrawn), "2 seconds")
        assert.deepStrictEqual(yield* left(client, one), [0, 0])
      }).pipe(Effect.scoped)
    )
  }
})

describe.skipIf(servers().redis === null)("the fused guard, when a record", () => {
  it.live("is not what it writes, says so, and keeps nobody else waiting", () =>
    Effect.gen(function* () {
      const [guard, client] = [yield* guardOn({ wait: "1 second" }), yield* clientOn()]
      for (const text of ["nothing", '1\nprint\n"a"b"\ntext']) {
        const one = request({ derived: false })
        yield* asked(() => client.set(recordKey(one), text))
        for (let again = 0; again < 2; again++) {
          const error = yield* Effect.flip(serve(guard, one))
          assert.strictEqual(error._tag === "OutcomeUnknown" ? error._tag : error.reason._tag, "RecordUnreadable")
        }
        assert.isTrue(yield* serve(guard, request({ resources: one.resources })))
      }
    }).pipe(Effect.scoped)
  )
})

describe.skipIf(servers().redis === null)("the fused guard, when a request is interrupted", () => {
  /** Interrupts a request once it has come that far, and says what it leaves of locks and marks. */
  const interrupting = (
    guard: Guard,
    one: IdempotencyRequest,
    reached: Effect.Effect<unknown>,
    work: Effect.Effect<unknown> = Effect.never
  ) =>
    Effect.gen(function* () {
      const client = yield* clientOn()
      const fiber = yield* Effect.forkChild(serve(guard, one, work), { startImmediately: true })
      yield* reached
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      return () => left(client, one)
    })

  it.live("while it is admitted, leaves neither lock nor mark", () =>
    Effect.gen(function* () {
      const at = yield* Deferred.make<void>()
      const work = Effect.andThen(Deferred.succeed(at, undefined), Effect.never)
      const rest = yield* interrupting(yield* guardOn(), request(), Deferred.await(at), work)
      assert.deepStrictEqual(yield* rest(), [0, 0])
    }).pipe(Effect.scoped)
  )

  for (const [where, sameProcess] of [
    ["behind another of its process", true],
    ["for another process", false]
  ] as const) {
    it.live(`while it waits ${where}, leaves its place, and the next is served`, () =>
      Effect.gen(function* () {
        const [here, there, client] = [yield* guardOn(), yield* guardOn(), yield* clientOn()]
        const holder = request()
        const [held, end] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const holding = yield* Effect.forkChild(
          serve(here, holder, Effect.andThen(Deferred.succeed(held, undefined), Deferred.await(end)))
        )
        yield* Deferred.await(held)
        const guard = sameProcess ? here : there
        const { resources } = holder
        yield* interrupting(guard, request({ resources }), Effect.sleep("50 millis"))
        const next = yield* Effect.forkChild(serve(guard, request({ resources })), { startImmediately: true })
        yield* Effect.sleep("50 millis")
        yield* Deferred.succeed(end, undefined)
        assert.isTrue(yield* Fiber.join(holding))
        assert.isTrue(yield* Effect.timeout(Fiber.join(next), "2 seconds"))
        assert.deepStrictEqual(yield* left(client, holder), [0, 0])
      }).pipe(Effect.scoped)
    )
  }

  it.live("before Redis has the script it asks with, leaves neither lock nor mark", () =>
    Effect.gen(function* () {
      const server = yield* Effect.acquireRelease(Effect.promise(PrivateRedis.start), (one) => Effect.promise(one.stop))
      const [guard, client] = [yield* guardOn({}, {}, server.url), yield* clientOn(server.url)]
      const interrupted = (one: IdempotencyRequest) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(serve(guard, one, Effect.never), { startImmediately: true })
          yield* Fiber.interrupt(fiber)
          yield* Effect.sleep("100 millis")
          assert.deepStrictEqual(yield* left(client, one), [0, 0])
        })
      // The first teaches Redis how to take an admission back.
      const first = request()
      assert.isTrue(yield* serve(guard, first))
      yield* interrupted(request())
      yield* interrupted(request({ derived: false }))
    }).pipe(Effect.scoped)
  )

  it.live("while it ends, leaves no lock", () =>
    Effect.gen(function* () {
      const at = yield* Deferred.make<void>()
      const stuck = Effect.andThen(Deferred.succeed(at, undefined), Effect.never)
      const guard = yield* guardOn({}, { before: once("leave", stuck) })
      const rest = yield* interrupting(guard, request(), Deferred.await(at), Effect.void)
      // Whether it ended nobody knows: its mark says so to the next.
      assert.deepStrictEqual(yield* rest(), [0, 1])
    }).pipe(Effect.scoped)
  )
})

describe.skipIf(servers().redis === null)("the fused guard, while it waits for a Redis that", () => {
  /** One holds the lock and another process waits for it; then something happens. */
  const waiting = (
    happens: (server: Awaited<ReturnType<typeof PrivateRedis.start>>) => Effect.Effect<unknown>,
    wait: Duration.Input
  ) =>
    Effect.gen(function* () {
      const server = yield* Effect.acquireRelease(Effect.promise(PrivateRedis.start), (one) => Effect.promise(one.stop))
      const [here, there] = [yield* guardOn({}, {}, server.url), yield* guardOn({ wait }, {}, server.url)]
      const one = request()
      const [held, end] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const holding = yield* Effect.forkChild(
        serve(here, one, Effect.andThen(Deferred.succeed(held, undefined), Deferred.await(end)))
      )
      yield* Deferred.await(held)
      const next = yield* Effect.forkChild(serve(there, request({ resources: one.resources })), {
        startImmediately: true
      })
      yield* Effect.sleep("100 millis")
      yield* happens(server)
      return { holding, next, end }
    })
  const reasonOf = (exit: Exit.Exit<unknown, { readonly _tag: string; readonly reason?: { readonly _tag: string } }>) =>
    Exit.findErrorOption(exit).pipe((error) => (error._tag === "Some" ? error.value.reason?._tag : exit._tag))

  it.live(
    "forgets everything, is admitted by its last try, and the one before is refused",
    () =>
      Effect.gen(function* () {
        const flush = (server: { readonly url: string }) =>
          Effect.scoped(Effect.flatMap(clientOn(server.url), (client) => asked(() => client.flushall())))
        const { end, holding, next } = yield* waiting(flush, "1 second")
        assert.isTrue(yield* Fiber.join(next))
        yield* Deferred.succeed(end, undefined)
        assert.strictEqual(reasonOf(yield* Fiber.await(holding)), "LockLost")
      }).pipe(Effect.scoped),
    30_000
  )

  it.live(
    "is restarted, asks again as soon as it is back",
    () =>
      Effect.gen(function* () {
        const { end, holding, next } = yield* waiting((server) => asked(server.restart), "20 seconds")
        assert.isTrue(yield* Effect.timeout(Fiber.join(next), "5 seconds"))
        yield* Deferred.succeed(end, undefined)
        assert.strictEqual(reasonOf(yield* Fiber.await(holding)), "LockLost")
      }).pipe(Effect.scoped),
    30_000
  )

  it.live(
    "hangs for a while, is served when the holder has ended",
    () =>
      Effect.gen(function* () {
        const hang = (server: { readonly pause: () => void; readonly resume: () => void }) =>
          Effect.sync(server.pause).pipe(
            Effect.andThen(Effect.sleep("500 millis")),
            Effect.tap(Effect.sync(server.resume))
          )
        const { end, holding, next } = yield* waiting(hang, "10 seconds")
        yield* Deferred.succeed(end, undefined)
        assert.isTrue(yield* Fiber.join(holding))
        assert.isTrue(yield* Effect.timeout(Fiber.join(next), "2 seconds"))
      }).pipe(Effect.scoped),
    30_000
  )
})
