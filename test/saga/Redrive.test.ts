import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Fiber, Layer, Schema } from "effect"
import { TestClock } from "effect/testing"
import {
  CircuitBreakers,
  DeadLetterQueue,
  DeadLetterWorker,
  DistributedLock,
  FloorRefused,
  Saga,
  SagaMemory,
  Step
} from "effect-saga"
import { a, b, behave, Doc, notify, Refused, World, write } from "./World.ts"

const layer = Layer.merge(SagaMemory.layerWith({ retries: false }), World.layer)
const doc = { id: "1", text: "x" }
const rows = Effect.map(World, (world) => Object.fromEntries(world.rows))
const letters = Effect.flatMap(DeadLetterQueue, (queue) => queue.list())
const only = Effect.map(letters, ([letter]) => letter ?? assert.fail("there is no dead letter"))
const problem = <A, R>(effect: Effect.Effect<A, { readonly reason: { readonly _tag: string } }, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => ("problem" in reason ? `${reason.problem}` : reason._tag))

/** A saga that failed at `b` and could not undo `a`. */
const stuck = Effect.gen(function* () {
  yield* behave("b", "fails")
  yield* behave("undo a", "fails")
  assert.strictEqual((yield* Effect.flip(write.execute(doc)))._tag, "CompensationError")
  assert.deepStrictEqual(yield* rows, { "a:1": "x" })
  yield* behave("undo a", "works")
  yield* behave("b", "works")
  return yield* only
})
const redrive = Saga.redrive([write])

describe("redriving a dead letter", () => {
  it.effect("undoes what could not be undone, under a fence of its own, and resolves", () =>
    Effect.gen(function* () {
      const letter = yield* stuck
      const { fences } = yield* World
      const resolved = yield* redrive.one(letter.id)
      assert.strictEqual(resolved.status, "resolved")
      assert.deepStrictEqual(yield* rows, {})
      assert.isAbove(fences.at(-1) ?? 0, letter.fence)
    }).pipe(Effect.provide(layer))
  )

  it.effect("restores the before-image that the letter kept", () =>
    Effect.gen(function* () {
      yield* write.execute({ id: "1", text: "earlier" })
      yield* behave("b", "fails")
      yield* behave("undo a", "fails")
      yield* Effect.flip(write.execute(doc))
      yield* behave("undo a", "works")
      yield* redrive.one((yield* only).id)
      assert.strictEqual((yield* rows)["a:1"], "earlier")
    }).pipe(Effect.provide(layer))
  )

  it.effect("counts a try that fails again, shows its error, and lets it wait", () =>
    Effect.gen(function* () {
      const letter = yield* stuck
      yield* behave("undo a", "dies")
      assert.match(yield* problem(redrive.one(letter.id)), /failed again: a crashed/)
      const after = yield* only
      assert.deepStrictEqual([after.status, after.retryCount, after.errorMessage], ["pending", 1, "a crashed"])
      const wait = DateTime.distance(yield* DateTime.now, after.dueAt)
      assert.isTrue(Duration.isGreaterThan(wait, Duration.seconds(50)))
    }).pipe(Effect.provide(layer))
  )

  it.effect("is no try while another holds the resource", () =>
    Effect.gen(function* () {
      const letter = yield* stuck
      const lock = yield* DistributedLock
      yield* Effect.forkScoped(
        lock.withLock("1")(() => Effect.never),
        { startImmediately: true }
      )
      const redriving = yield* Effect.forkChild(problem(redrive.one(letter.id)), { startImmediately: true })
      yield* TestClock.adjust("6 seconds")
      assert.match(yield* Fiber.join(redriving), /held by another/)
      const after = yield* only
      assert.deepStrictEqual([after.status, after.retryCount], ["pending", 0])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("is no try while the breaker is open, and is due when it lets a call through", () =>
    Effect.gen(function* () {
      const letter = yield* stuck
      yield* (yield* CircuitBreakers).isolate("a")
      assert.match(yield* problem(redrive.one(letter.id)), /[Oo]pen/)
      const after = yield* only
      assert.deepStrictEqual([after.status, after.retryCount], ["pending", 0])
      assert.isTrue(DateTime.isGreaterThan(after.dueAt, yield* DateTime.now))
      yield* (yield* CircuitBreakers).reset("a")
      assert.strictEqual((yield* redrive.one(letter.id)).status, "resolved")
    }).pipe(Effect.provide(layer))
  )

  it.effect("marks an unknown saga, version or step, and the letter stays", () =>
    Effect.gen(function* () {
      const letter = yield* stuck
      const parts = { payload: Doc, error: Refused, resource: (d: typeof Doc.Type) => d.id }
      const run = (d: typeof Doc.Type) => Effect.asVoid(b(d))
      const other = Saga.make("Other", { ...parts, steps: [b], run })
      const newer = Saga.make("Write", { ...parts, version: 2, steps: [b], run })
      const stepless = Saga.make("Write", { ...parts, steps: [b], run })
      for (const [sagas, said] of [
        [[other], /saga Write is not among those given/],
        [[newer], /version 1 of Write is not known/],
        [[stepless], /Write has no step a/]
      ] as const) {
        assert.match(yield* problem(Saga.redrive(sagas).one(letter.id)), said)
        const after = yield* only
        assert.deepStrictEqual([after.status, after.retryCount], ["pending", 0])
        assert.match(after.problem ?? "", said)
      }
      assert.deepStrictEqual(yield* rows, { "a:1": "x" })
    }).pipe(Effect.provide(layer))
  )

  it.effect("guesses nothing when the schema has changed since", () =>
    Effect.gen(function* () {
      const letter = yield* stuck
      const changed = Step.make("a", {
        input: Schema.Struct({ id: Schema.Int }),
        execute: () => Effect.void,
        compensate: () => Effect.die("must not run")
      })
      const saga = Saga.make("Write", {
        payload: Schema.Struct({ id: Schema.Int }),
        resource: (d) => `${d.id}`,
        steps: [changed],
        run: (d) => changed(d)
      })
      assert.match(yield* problem(Saga.redrive([saga]).one(letter.id)), /input does not fit the schema of a/)
      assert.strictEqual((yield* only).status, "pending")
    }).pipe(Effect.provide(layer))
  )

  it.effect("uses the declaration of the letter's own version", () =>
    Effect.gen(function* () {
      const letter = yield* stuck
      const second = Saga.make("Write", {
        version: 2,
        previous: [write],
        payload: Doc,
        error: Refused,
        resource: (d) => d.id,
        steps: [b],
        run: (d) => Effect.asVoid(b(d))
      })
      assert.strictEqual((yield* Saga.redrive([second]).one(letter.id)).status, "resolved")
      assert.deepStrictEqual(yield* rows, {})
    }).pipe(Effect.provide(layer))
  )

  it.effect("runs a parked retriable step with its own saga's fence", () =>
    Effect.gen(function* () {
      yield* behave("notify", "fails")
      yield* write.execute(doc)
      const letter = yield* only
      yield* behave("notify", "works")
      yield* redrive.one(letter.id)
      const world = yield* World
      assert.strictEqual(world.rows.get("notify:1"), "x")
      assert.strictEqual(world.fences.at(-1), letter.fence)
    }).pipe(Effect.provide(layer))
  )

  it.effect("finds a retriable step superseded when its store has something newer", () =>
    Effect.gen(function* () {
      let refusing = false
      const put = Step.retriable("put", {
        input: Doc,
        error: Schema.Union([FloorRefused, Refused]),
        execute: () =>
          refusing
            ? Effect.fail(new FloorRefused({ store: "s", thing: "1", floor: 9, fence: 1 }))
            : Effect.fail(new Refused({ store: "s", transient: false, applied: false }))
      })
      const saga = Saga.make("Put", { payload: Doc, resource: (d) => d.id, steps: [put], run: (d) => put(d) })
      yield* saga.execute(doc)
      refusing = true
      const resolved = yield* Saga.redrive([saga]).one((yield* only).id)
      assert.strictEqual(resolved.status, "resolved")
    }).pipe(Effect.provide(layer))
  )

  it.effect("brings a saga that failed past its point of no return to its end, without doing anything twice", () =>
    Effect.gen(function* () {
      const late = Saga.make("Late", {
        payload: Doc,
        error: Refused,
        resource: (d) => d.id,
        steps: [a, b, notify],
        run: Effect.fn(function* (d) {
          const id = yield* a(d)
          yield* notify(d)
          yield* b({ ...d, text: id })
        })
      })
      yield* behave("b", "fails")
      yield* Effect.flip(late.execute(doc))
      yield* behave("b", "works")
      const world = yield* World
      world.log.length = 0
      yield* Saga.redrive([late]).one((yield* only).id)
      assert.deepStrictEqual(world.log, ["b"])
      assert.deepStrictEqual(yield* rows, { "a:1": "x", "notify:1": "x", "b:1": "a-1" })
    }).pipe(Effect.provide(layer))
  )

  it.effect("does not go on with a saga that does otherwise than its letter says", () =>
    Effect.gen(function* () {
      const of = (text: string) =>
        Saga.make("Late", {
          payload: Doc,
          error: Refused,
          resource: (d) => d.id,
          steps: [a, b, notify],
          run: Effect.fn(function* (d) {
            yield* a({ ...d, text })
            yield* notify(d)
            yield* b(d)
          })
        })
      yield* behave("b", "fails")
      yield* Effect.flip(of("one").execute(doc))
      yield* behave("b", "works")
      assert.match(yield* problem(Saga.redrive([of("two")]).one((yield* only).id)), /a otherwise .* its input differs/)
      assert.strictEqual((yield* World).rows.has("b:1"), false)
    }).pipe(Effect.provide(layer))
  )

  it.effect("says that an abandoned saga has to be looked at by hand", () =>
    Effect.gen(function* () {
      const queue = yield* DeadLetterQueue
      const { createdAt, id, maxRetries, problem: _, retryCount, status, ...rest } = yield* stuck
      const abandoned = yield* queue.add({ ...rest, kind: "abandoned", fence: rest.fence + 1 })
      assert.match(yield* problem(redrive.one(abandoned)), /by hand/)
      yield* queue.discard(abandoned, "me", "looked at it")
    }).pipe(Effect.provide(layer))
  )

  it.effect("goes through all of them, the newest of a resource first", () =>
    Effect.gen(function* () {
      yield* behave("b", "fails")
      yield* behave("undo a", "fails")
      yield* Effect.flip(write.execute(doc))
      yield* Effect.flip(write.execute({ id: "1", text: "over it" }))
      yield* Effect.flip(write.execute({ id: "2", text: "elsewhere" }))
      yield* behave("undo a", "works")
      assert.deepStrictEqual(yield* rows, { "a:1": "over it", "a:2": "elsewhere" })
      assert.deepStrictEqual(yield* redrive.all(), { redriven: 3, failed: 0, firstError: undefined })
      assert.deepStrictEqual(yield* rows, {})
    }).pipe(Effect.provide(layer))
  )

  it.effect("tells how many it could not run, and the first reason", () =>
    Effect.gen(function* () {
      yield* stuck
      yield* behave("undo a", "fails")
      const { failed, firstError, redriven } = yield* redrive.all({ database: "a" })
      assert.deepStrictEqual([failed, redriven], [1, 0])
      assert.match(firstError ?? "", /failed again/)
    }).pipe(Effect.provide(layer))
  )
})

describe("the dead-letter worker", () => {
  const worker = DeadLetterWorker.layer({ sagas: [write] })

  it.effect("redrives what is due, again later what failed, and stops after the last try", () =>
    Effect.gen(function* () {
      yield* stuck
      yield* behave("undo a", "fails")
      yield* Layer.build(worker)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([(yield* only).status, (yield* only).retryCount], ["pending", 1])
      yield* TestClock.adjust("12 hours")
      const spent = yield* only
      assert.deepStrictEqual([spent.status, spent.retryCount], ["pending", spent.maxRetries])
      const tries = (yield* World).log.length
      yield* TestClock.adjust("12 hours")
      assert.strictEqual((yield* World).log.length, tries)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("resolves by itself once the store is back", () =>
    Effect.gen(function* () {
      yield* stuck
      yield* behave("undo a", "fails", "works")
      yield* Layer.build(worker)
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual((yield* only).status, "resolved")
      assert.deepStrictEqual(yield* rows, {})
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("leaves letters of sagas that it was not given alone", () =>
    Effect.gen(function* () {
      const queue = yield* DeadLetterQueue
      const { createdAt, id, maxRetries, problem: _, retryCount, status, ...rest } = yield* stuck
      const foreign = yield* queue.add({ ...rest, saga: "Foreign", sagaId: "foreign" })
      yield* Layer.build(worker)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([(yield* queue.get(foreign)).retryCount, (yield* queue.get(foreign)).problem], [0, null])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})
