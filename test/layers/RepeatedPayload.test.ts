/** Whether a repeat asks for what is recorded: a process that has seen the record says the same as one that has not. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schema, SchemaTransformation } from "effect"
import { IoRedis, Saga, SagaLive } from "effect-saga"
import * as PgliteClient from "effect-saga/pglite"
import { recordKey } from "../../src/layers/redis/RedisKeys.ts"
import { servers } from "../servers/inject.ts"
import { asked, commandsDuring, plain as connect, own, url } from "./GuardWorld.ts"

/** Each is a process of its own to Redis. */
const process = Layer.build(
  Layer.fresh(SagaLive.layer.pipe(Layer.provide([IoRedis.layerUrl(url), PgliteClient.layer])))
)

const Plain = Schema.Struct({
  id: Schema.String,
  text: Schema.String,
  list: Schema.optionalKey(Schema.Array(Schema.Finite)),
  deep: Schema.optionalKey(Schema.Struct({ a: Schema.Array(Schema.Finite), b: Schema.Null }))
})
const plain = Saga.make("Plain", {
  payload: Plain,
  resource: ({ id }) => id,
  steps: [],
  run: () => Effect.void
})

/** Written as one less than it is: what looks like the recorded JSON is another value. */
const Shifted = Schema.Finite.pipe(
  Schema.decodeTo(Schema.Finite, SchemaTransformation.transform({ decode: (n) => n + 1, encode: (n) => n - 1 }))
)
const shifted = Saga.make("Shifted", {
  payload: Schema.Struct({ id: Schema.String, n: Shifted }),
  resource: ({ id }) => id,
  steps: [],
  run: () => Effect.void
})

const ANOTHER = "used before with another payload"
/** `replayed`, `ran`, or why not. */
const said = <E, R>(execution: Effect.Effect<Saga.Receipt<void>, E, R>) =>
  Effect.map(Effect.exit(execution), (exit) => {
    if (Exit.isSuccess(exit)) return exit.value.replayed ? "replayed" : "ran"
    const error = exit.cause.reasons.find(({ _tag }) => _tag === "Fail")
    return String(error).match(/InvalidPayload|used before with another payload/)?.[0] ?? String(exit.cause)
  })

const at = "2026-01-02T03:04:05.678Z"
const first = (id: string) => ({ id, text: at, list: [1, 0], deep: { a: [1], b: null } })
/** How the repeat's payload differs, and what is said of it. */
const repeats: ReadonlyArray<readonly [how: string, payload: (id: string) => unknown, said: string]> = [
  ["in nothing", first, "replayed"],
  ["in the order of its members", (id) => ({ deep: { b: null, a: [1] }, list: [1, 0], text: at, id }), "replayed"],
  ["in a member that its schema does not tell of", (id) => ({ ...first(id), more: 1 }), "replayed"],
  ["in a member that is there for nobody", (id) => ({ ...first(id), more: undefined }), "replayed"],
  ["in its prototype", (id) => Object.assign(Object.create(null), first(id)), "replayed"],
  ["in a zero's sign, which JSON does not tell", (id) => ({ ...first(id), list: [1, -0] }), "replayed"],
  ["in a value", (id) => ({ ...first(id), text: "another" }), ANOTHER],
  ["in a value below", (id) => ({ ...first(id), deep: { a: [2], b: null } }), ANOTHER],
  ["in the order of items", (id) => ({ ...first(id), list: [0, 1] }), ANOTHER],
  ["in a member that is missing", (id) => ({ id, text: at, list: [1, 0] }), ANOTHER],
  ["in a date with the same text", (id) => ({ ...first(id), text: new Date(at) }), "InvalidPayload"],
  ["in a value with its own text", (id) => ({ ...first(id), text: { toJSON: () => at } }), "InvalidPayload"],
  ["in an undefined member", (id) => ({ id, text: at, deep: first(id).deep, list: undefined }), "InvalidPayload"],
  ["in a number that JSON lacks", (id) => ({ ...first(id), list: [1, Number.NaN] }), "InvalidPayload"],
  ["in all, being none", () => 1, "InvalidPayload"]
]

describe.skipIf(servers().redis === null)("the payload of a repeat", () => {
  it.live("means the same to a process that has seen the record and to one that has not", () =>
    Effect.gen(function* () {
      const [here, there] = [yield* process, yield* process]
      for (const [how, payload, expected] of repeats) {
        const id = own("repeat")
        const ask = (given: unknown) => plain.executeReceipt(given as ReturnType<typeof first>, { idempotencyKey: id })
        yield* Effect.provideContext(ask(first(id)), here)
        const answers = [here, there].map((one) => said(Effect.provideContext(ask(payload(id)), one)))
        assert.deepStrictEqual([how, ...(yield* Effect.all(answers))], [how, expected, expected])
      }
    }).pipe(Effect.scoped)
  )

  it.live("is asked for in one plain read, and in a second question where its schema leaves something out", () =>
    Effect.gen(function* () {
      const here = yield* process
      yield* Effect.provideContext(plain.execute(first(own("warm"))), here)
      const id = own("reads")
      const ask = (given: ReturnType<typeof first>) =>
        Effect.provideContext(plain.execute(given, { idempotencyKey: id }), here)
      yield* ask(first(id))
      assert.deepStrictEqual(yield* commandsDuring(ask(first(id)), id), ["GET"])
      assert.deepStrictEqual(yield* commandsDuring(ask(Object.assign(first(id), { more: 1 })), id), ["GET", "EVALSHA"])
    }).pipe(Effect.scoped)
  )

  it.live("is what it was when it was asked for, though it has changed once the record proves to have ended", () =>
    Effect.gen(function* () {
      const [here, client] = [yield* process, yield* connect]
      const id = own("ended")
      const ask = (given: ReturnType<typeof first>) =>
        Effect.provideContext(plain.executeReceipt(given, { idempotencyKey: id }), here)
      yield* ask(first(id))
      yield* asked(() => client.del(recordKey({ saga: "Plain", key: id, derived: false, resources: [id] })))
      const changing = first(id)
      const again = Effect.runFork(ask(changing))
      changing.text = "another"
      assert.isFalse((yield* Fiber.join(again)).replayed)
      assert.strictEqual(yield* said(ask(first(id))), "replayed")
    }).pipe(Effect.scoped)
  )

  it.live("is told by its encoded form where its schema changes values", () =>
    Effect.gen(function* () {
      const [here, there] = [yield* process, yield* process]
      const id = own("shifted")
      const ask = (n: number) => shifted.executeReceipt({ id, n }, { idempotencyKey: id })
      yield* Effect.provideContext(ask(5), here)
      for (const one of [here, there]) {
        // 4 is what 5 is written as.
        assert.strictEqual(yield* said(Effect.provideContext(ask(4), one)), ANOTHER)
        assert.strictEqual(yield* said(Effect.provideContext(ask(5), one)), "replayed")
      }
    }).pipe(Effect.scoped)
  )
})
