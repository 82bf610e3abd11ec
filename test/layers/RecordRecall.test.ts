/** A repeat in a process that has seen the record: one plain read, which means what an admission would have meant. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Schema, Tracer } from "effect"
import * as Redis from "effect/persistence/Redis"
import { IoRedis, Saga, SagaLive } from "effect-saga"
import * as PgliteClient from "effect-saga/pglite"
import { makeRecordRecall } from "../../src/layers/redis/RecordRecall.ts"
import { recordText } from "../../src/layers/redis/Records.ts"
import { recordKey } from "../../src/layers/redis/RedisKeys.ts"
import { spanRecorder } from "../saga/SpanRecorder.ts"
import { servers } from "../servers/inject.ts"
import { asked, commandsDuring, own, plain, request, result, url } from "./GuardWorld.ts"

const context = Context.empty()
const Payload = Schema.Struct({ id: Schema.String, text: Schema.String })
let runs = 0
const saga = Saga.make("Recalled", {
  payload: Payload,
  success: Schema.Finite,
  error: Schema.Literal("refused"),
  resource: ({ id }) => id,
  steps: [],
  recordFailure: () => true,
  run: ({ text }) => (text === "refuse" ? Effect.fail("refused" as const) : Effect.sync(() => ++runs))
})

/** Each is a process of its own to Redis. */
const served = Layer.build(
  Layer.fresh(SagaLive.layer.pipe(Layer.provide([IoRedis.layerUrl(url), PgliteClient.layer])))
).pipe(
  Effect.map(
    (context) =>
      (id: string, text = "text") =>
        Effect.provideContext(saga.executeReceipt({ id, text }, { idempotencyKey: id }), context)
  )
)
const recordOf = (id: string) => recordKey({ saga: "Recalled", key: id, derived: false, resources: [id] })

describe.skipIf(servers().redis === null)("a repeat", () => {
  it.live("is one plain read for a process that has seen its record, and a question for another until it has", () =>
    Effect.gen(function* () {
      const [here, there] = [yield* served, yield* served]
      yield* here(own("warm"))
      yield* there(own("warm"))
      const id = own("seen")
      const { value } = yield* here(id)
      for (const [ask, command] of [
        [here, "GET"],
        [here, "GET"],
        [there, "EVALSHA"],
        [there, "GET"]
      ] as const) {
        assert.deepStrictEqual(yield* commandsDuring(ask(id), id), [command])
        assert.deepInclude(yield* ask(id), { value, replayed: true, recorded: true })
      }
    }).pipe(Effect.scoped)
  )

  it.live("fails as the request did whose failure is recorded", () =>
    Effect.gen(function* () {
      const here = yield* served
      const id = own("failed")
      for (const commands of [["EVALSHA", "EVALSHA"], ["GET"]]) {
        assert.deepStrictEqual(yield* commandsDuring(Effect.exit(here(id, "refuse")), id), commands)
        assert.strictEqual(yield* Effect.flip(here(id, "refuse")), "refused")
      }
    }).pipe(Effect.scoped)
  )

  it.live("with another payload is told that its key was used", () =>
    Effect.gen(function* () {
      const here = yield* served
      const id = own("reused")
      yield* here(id)
      const error = yield* Effect.flip(here(id, "another"))
      assert.isTrue(typeof error === "object" && error._tag === "IdempotencyError" && error.reason._tag === "KeyReused")
    }).pipe(Effect.scoped)
  )

  it.live("is of the payload as it was when it was asked for, whatever becomes of that while Redis answers", () =>
    Effect.gen(function* () {
      const live = yield* Layer.build(
        Layer.fresh(SagaLive.layer.pipe(Layer.provide([IoRedis.layerUrl(url), PgliteClient.layer])))
      )
      const id = own("changed")
      const payload = { id, text: "text" }
      const run = saga.executeReceipt(payload, { idempotencyKey: id }).pipe(Effect.provideContext(live))
      yield* run
      const repeat = Effect.runFork(run)
      payload.text = "another"
      assert.isTrue((yield* Fiber.join(repeat)).replayed)
    }).pipe(Effect.scoped)
  )

  it.live("with what is no payload is told so, though its key has a record", () =>
    Effect.gen(function* () {
      const here = yield* served
      const id = own("invalid")
      yield* here(id)
      const invalid: string = JSON.parse("1")
      const error = yield* Effect.flip(here(id, invalid))
      assert.strictEqual(typeof error === "object" ? error._tag : error, "InvalidPayload")
    }).pipe(Effect.scoped)
  )

  it.live("runs anew once the record has ended, and is recorded anew", () =>
    Effect.gen(function* () {
      const [here, client] = [yield* served, yield* plain]
      const id = own("ended")
      const first = yield* here(id)
      yield* asked(() => client.del(recordOf(id)))
      const second = yield* here(id)
      assert.deepInclude(second, { value: first.value + 1, replayed: false, recorded: true })
      assert.deepInclude(yield* here(id), { value: second.value, replayed: true, sagaId: second.sagaId })
    }).pipe(Effect.scoped)
  )

  it.live("has one span, whether the record is found or has ended", () =>
    Effect.gen(function* () {
      const [here, client] = [yield* served, yield* plain]
      const id = own("traced")
      const { spans, tracer } = spanRecorder()
      const traced = Effect.provideService(here(id), Tracer.Tracer, tracer)
      const first = yield* traced
      const repeat = yield* traced
      yield* asked(() => client.del(recordOf(id)))
      const anew = yield* traced
      assert.deepStrictEqual([first.replayed, repeat.replayed, anew.replayed], [false, true, false])
      const about = { saga: "Recalled", resource: id }
      assert.deepStrictEqual(
        spans.map(({ attributes, name }) => [name, Object.fromEntries(attributes)]),
        [
          ["saga Recalled", { ...about, sagaId: first.sagaId }],
          ["saga Recalled", about],
          ["saga Recalled", { ...about, sagaId: anew.sagaId }]
        ]
      )
      assert.isTrue(spans.every(({ parent, status }) => parent._tag === "None" && status._tag === "Ended"))
    }).pipe(Effect.scoped)
  )

  it.live("is told of a record that cannot be read, and runs nothing", () =>
    Effect.gen(function* () {
      const [here, client] = [yield* served, yield* plain]
      const id = own("unreadable")
      const { value } = yield* here(id)
      const spoil = [
        async () => void (await client.set(recordOf(id), "nonsense")),
        async () => {
          await client.del(recordOf(id))
          await client.lpush(recordOf(id), "a list")
        }
      ]
      for (const how of spoil) {
        yield* asked(how)
        const error = yield* Effect.flip(here(id))
        assert.isTrue(typeof error === "object" && error._tag === "IdempotencyError")
      }
      // What a read cannot tell, the next question does.
      const error = yield* Effect.flip(here(id))
      assert.isTrue(
        typeof error === "object" && error._tag === "IdempotencyError" && error.reason._tag === "RecordUnreadable"
      )
      assert.strictEqual(runs, value)
    }).pipe(Effect.scoped)
  )
})

describe("what is known of records", () => {
  const dead = Redis.make({
    send: () => Effect.fail(new Redis.RedisError({ cause: new Error("gone") })),
    connect: Effect.never,
    subscribe: () => Effect.never
  })
  const stored = (texts: ReadonlyMap<string, string>) =>
    Redis.make({
      send: <A>(_: string, key?: unknown) => Effect.succeed((texts.get(String(key)) ?? null) as A),
      connect: Effect.never,
      subscribe: () => Effect.never
    })

  it.effect("is asked for before the payload is worked out, where the client tells that the question has left", () =>
    Effect.gen(function* () {
      const events: Array<string> = []
      const asking = (real: Redis.Redis["Service"]) => {
        const noted = {
          ...real,
          send: <A>(name: string, ...args: Array<string>) => noting(real.send<A>(name, ...args))
        }
        const noting = <A>(answer: Effect.Effect<A, Redis.RedisError>) =>
          Effect.andThen(
            Effect.sync(() => void events.push("asked")),
            answer
          )
        const sendWhile = <A>(meanwhile: () => void, name: string, ...args: Array<string>) =>
          Effect.suspend(() => {
            events.push("asked")
            meanwhile()
            return real.send<A>(name, ...args)
          })
        return [noted, { ...real, sendWhile }] as const
      }
      const one = request()
      const real = yield* stored(new Map([["record", recordText(one, "1", result("a"))]]))
      for (const redis of asking(real)) {
        const { recall, seen } = makeRecordRecall(redis)
        seen(one, "record")
        const recalled = recall(one, context, () => void events.push("worked out"))
        assert.deepStrictEqual(yield* recalled ?? Effect.die("unknown"), { _tag: "Replayed", result: "a" })
        events.push("answered")
      }
      assert.deepStrictEqual(events, [...["worked out", "asked", "answered"], ...["asked", "worked out", "answered"]])
    })
  )

  it.effect("is forgotten of the oldest first, and is never more than twice what was asked for", () =>
    Effect.gen(function* () {
      const { recall, seen } = makeRecordRecall(yield* stored(new Map()), 10)
      const all = Array.from({ length: 100 }, () => request())
      for (const one of all) seen(one, recordKey(one))
      const known = all.map((one) => recall(one, context, () => {}) !== undefined)
      assert.isTrue(known.slice(-10).every(Boolean))
      assert.isFalse(known.slice(0, -20).some(Boolean))
    })
  )

  it.effect("is nothing of a derived key, of another saga's, or where nothing is to be repeated", () =>
    Effect.gen(function* () {
      const one = request()
      const { recall, seen } = makeRecordRecall(yield* stored(new Map([["record", recordText(one, "1", result("a"))]])))
      seen({ ...one, derived: true }, "record")
      assert.isUndefined(recall({ ...one, derived: true }, context, () => {}))
      assert.isUndefined(recall(one, context, () => {}))
      seen(one, "record")
      assert.isUndefined(recall({ ...one, saga: `${one.saga} other` }, context, () => {}))
      assert.isUndefined(recall({ ...one, replay: false }, context, () => {}))
      assert.deepStrictEqual(yield* recall(one, context, () => {}) ?? Effect.die("unknown"), {
        _tag: "Replayed",
        result: "a"
      })
      // Of several sagas with one key the last is known.
      seen({ ...one, saga: `${one.saga} other` }, "others")
      assert.isUndefined(recall(one, context, () => {}))
      assert.isDefined(recall({ ...one, saga: `${one.saga} other` }, context, () => {}))
    })
  )

  it.effect("is forgotten when the store does not answer, and the request fails", () =>
    Effect.gen(function* () {
      const one = request()
      const { recall, seen } = makeRecordRecall(yield* dead)
      seen(one, "record")
      const error = yield* Effect.flip(recall(one, context, () => {}) ?? Effect.die("unknown"))
      assert.strictEqual(error.reason._tag, "IdempotencyStoreError")
      assert.isUndefined(recall(one, context, () => {}))
    })
  )
})
