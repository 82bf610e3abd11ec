/** What becomes of sagas whose process is gone: two processes over the same servers, one of which crashes. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Duration, Effect, Fiber, Layer, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { DeadLetterQueue, Idempotency, Saga, SagaJournal, SagaRecovery, Sagas, Step } from "effect-saga"
import * as MemoryDeadLetterQueue from "../../src/layers/memory/MemoryDeadLetterQueue.ts"
import * as MemoryIdempotency from "../../src/layers/memory/MemoryIdempotency.ts"
import * as MemoryJournal from "../../src/layers/memory/MemoryJournal.ts"
import type { Planned } from "../../src/testing/Fault.ts"
import { makeLeaseTable } from "../../src/testing/LeaseTable.ts"
import { makeProcess, type Process } from "../../src/testing/Process.ts"
import { a, b, behave, Doc, notify, Refused, World, write } from "./World.ts"

const lease = Duration.seconds(2)
const doc = { id: "1", text: "x" }

/** The servers, with a world of stores; each process is a client of them. */
const setUp = Effect.gen(function* () {
  const shared = yield* Layer.build(
    Layer.mergeAll(MemoryIdempotency.layer, MemoryJournal.layer, MemoryDeadLetterQueue.layer)
  )
  const servers = {
    leases: makeLeaseTable(lease),
    lease,
    idempotency: Context.get(shared, Idempotency),
    journal: Context.get(shared, SagaJournal),
    deadLetters: Context.get(shared, DeadLetterQueue)
  }
  const world = yield* World
  const process = (plan: ReadonlyArray<Planned> = []) => makeProcess(servers, plan)
  const inside =
    (one: Process) =>
    <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.provideContext(effect, Context.add(one.services, World, world))
  /** Runs it in a process that is gone at that event. */
  const crashAt = Effect.fnUntraced(function* (
    at: number,
    effect: Effect.Effect<unknown, unknown, Saga.SagaServices | World>
  ) {
    yield* TestClock.adjust("1 second")
    const dying = yield* process([{ at, fault: "crashAfter" }])
    yield* Effect.forkDetach(inside(dying)(effect))
    yield* TestClock.adjust("1 second")
    assert.isTrue(dying.isCrashed(), `it did as much as ${dying.events.join(", ")}`)
    yield* TestClock.adjust("3 seconds")
  })
  return { ...servers, process, inside, crashAt }
})

const recovering = <const S extends ReadonlyArray<Saga.Any>>(sagas: S) =>
  SagaRecovery.layer({ sagas, after: lease, schedule: Schedule.spaced("1 second") })

// Events of `write`: open, (prepare, append, execute) for a, b and c, append and execute of notify, close.
const AFTER_B = 6
const PIVOTED = 10
const CLOSED = 12

describe("a saga whose process is gone", () => {
  it.effect("is undone by recovery once its lease has ended", () =>
    Effect.gen(function* () {
      const { crashAt, inside, journal, process } = yield* setUp
      yield* crashAt(AFTER_B, write.execute(doc))
      const world = yield* World
      assert.deepStrictEqual([...world.rows.keys()], ["a:1", "b:1"])
      yield* Layer.build(recovering([write])).pipe(inside(yield* process()))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(world.rows.size, 0)
      assert.deepStrictEqual(world.log.slice(-2), ["undo b", "undo a"])
      const [ended] = yield* journal.list()
      assert.deepStrictEqual([ended?.status, ended?.outcome], ["finished", "undone"])
    }).pipe(Effect.scoped, Effect.provide(World.layer))
  )

  it.effect("is undone by the next saga on its resource, before that runs", () =>
    Effect.gen(function* () {
      const { crashAt, inside, process } = yield* setUp
      yield* crashAt(AFTER_B, write.execute(doc))
      yield* write.execute({ id: "1", text: "next" }).pipe(inside(yield* process()))
      const world = yield* World
      assert.deepStrictEqual(world.log, ["a", "b", "undo b", "undo a", "a", "b", "c", "notify"])
      assert.strictEqual(world.rows.get("a:1"), "next")
      assert.isTrue(world.fences.every((fence, i) => i === 0 || fence >= (world.fences[i - 1] ?? 0)))
    }).pipe(Effect.scoped, Effect.provide(World.layer))
  )

  it.effect("is brought to its end when it was past its point of no return, and a repeat gets its result", () =>
    Effect.gen(function* () {
      const { crashAt, inside, process } = yield* setUp
      yield* crashAt(PIVOTED, write.execute(doc, { idempotencyKey: "key" }))
      const other = yield* process()
      yield* Layer.build(recovering([write])).pipe(inside(other))
      yield* TestClock.adjust("2 seconds")
      const world = yield* World
      assert.deepStrictEqual(world.log, ["a", "b", "c", "notify"])
      assert.strictEqual(world.rows.get("notify:1"), "x")
      const receipt = yield* write.executeReceipt(doc, { idempotencyKey: "key" }).pipe(inside(other))
      assert.deepStrictEqual([receipt.value, receipt.replayed], ["c-1", true])
    }).pipe(Effect.scoped, Effect.provide(World.layer))
  )

  it.effect("that ended and could not record it is served from its journal to a repeat of the caller's key", () =>
    Effect.gen(function* () {
      const { crashAt, inside, process } = yield* setUp
      yield* crashAt(CLOSED, write.execute(doc, { idempotencyKey: "key" }))
      const receipt = yield* write.executeReceipt(doc, { idempotencyKey: "key" }).pipe(inside(yield* process()))
      assert.deepStrictEqual([receipt.value, receipt.replayed], ["c-1", true])
      assert.deepStrictEqual((yield* World).log, ["a", "b", "c", "notify"])
    }).pipe(Effect.scoped, Effect.provide(World.layer))
  )

  it.effect("is undone once, however many sweep at the same time", () =>
    Effect.gen(function* () {
      const { crashAt, inside, process } = yield* setUp
      yield* crashAt(AFTER_B, write.execute(doc))
      for (let i = 0; i < 5; i++) yield* Layer.build(recovering([write])).pipe(inside(yield* process()))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual((yield* World).log, ["a", "b", "undo b", "undo a"])
    }).pipe(Effect.scoped, Effect.provide(World.layer))
  )

  it.effect("leaves a dead letter for what cannot be undone", () =>
    Effect.gen(function* () {
      const { crashAt, deadLetters, inside, journal, process } = yield* setUp
      yield* crashAt(AFTER_B, write.execute(doc))
      yield* behave("undo b", "dies")
      yield* Layer.build(recovering([write])).pipe(inside(yield* process()))
      yield* TestClock.adjust("30 seconds")
      const [letter] = yield* deadLetters.list()
      assert.deepStrictEqual([letter?.kind, letter?.step, letter?.status], ["compensation", "b", "pending"])
      assert.deepStrictEqual([...(yield* World).rows.keys()], ["b:1"])
      assert.strictEqual((yield* journal.list())[0]?.outcome, "parked")
    }).pipe(Effect.scoped, Effect.provide(World.layer))
  )
})

describe("a saga that this process cannot settle", () => {
  const changed = Step.make("a", {
    input: Schema.Struct({ id: Schema.Int }),
    execute: () => Effect.void,
    compensate: () => Effect.die("must not run")
  })
  const rewritten = Saga.make("Write", {
    payload: Schema.Struct({ id: Schema.Int }),
    resource: (d) => `${d.id}`,
    steps: [changed],
    run: (d) => changed(d)
  })
  const parts = { payload: Doc, error: Refused, resource: (d: typeof Doc.Type) => d.id, steps: [a, b, notify] }
  const run = (d: typeof Doc.Type) => Effect.asVoid(Effect.andThen(a(d), b(d)))
  const other = Saga.make("Other", { ...parts, run })
  const second = Saga.make("Write", { ...parts, version: 2, run })
  const knowing = Saga.make("Write", { ...parts, version: 2, previous: [write], run })

  it.effect("keeps others from its resource, and is told", () =>
    Effect.gen(function* () {
      const { crashAt, inside, journal, process } = yield* setUp
      yield* crashAt(AFTER_B, write.execute(doc))
      const error = yield* Effect.flip(other.execute(doc)).pipe(inside(yield* process()))
      assert.strictEqual(error._tag === "LockError" ? error.reason._tag : error._tag, "ResourceUnsettled")
      const [stuck] = yield* Sagas.list({ status: "stuck" }).pipe(Effect.provideService(SagaJournal, journal))
      assert.match(stuck?.problem ?? "", /does not know the saga Write/)
      assert.deepStrictEqual([...(yield* World).rows.keys()], ["a:1", "b:1"])
    }).pipe(Effect.scoped, Effect.provide(World.layer))
  )

  it.effect("is settled by a saga of another name once recovery was given it", () =>
    Effect.gen(function* () {
      const { crashAt, inside, process } = yield* setUp
      yield* crashAt(AFTER_B, write.execute(doc))
      const knows = yield* process()
      // It has not swept yet when the other comes.
      yield* Layer.build(SagaRecovery.layer({ sagas: [write], after: "1 hour" })).pipe(inside(knows))
      yield* other.execute({ id: "1", text: "next" }).pipe(inside(knows))
      assert.deepStrictEqual((yield* World).log, ["a", "b", "undo b", "undo a", "a", "b"])
    }).pipe(Effect.scoped, Effect.provide(World.layer))
  )

  for (const [what, saga, said] of [
    ["of an unknown version", second, /version 1 of Write/],
    ["whose schema has changed", rewritten, /input of a does not fit its schema/]
  ] as const) {
    it.effect(`${what} is touched by nobody, and stops no other`, () =>
      Effect.gen(function* () {
        const { crashAt, inside, journal, process } = yield* setUp
        yield* crashAt(AFTER_B, write.execute(doc))
        yield* Layer.build(recovering([saga])).pipe(inside(yield* process()))
        yield* TestClock.adjust("2 seconds")
        const [stuck] = yield* journal.list({ status: "stuck" })
        assert.match(stuck?.problem ?? "", said)
        assert.deepStrictEqual([...(yield* World).rows.keys()], ["a:1", "b:1"])
        yield* Layer.build(recovering([write])).pipe(inside(yield* process()))
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual((yield* World).rows.size, 0)
        assert.deepStrictEqual(yield* journal.list({ status: "stuck" }), [])
      }).pipe(Effect.scoped, Effect.provide(World.layer))
    )
  }

  it.effect("is settled by its own version's declaration", () =>
    Effect.gen(function* () {
      const { crashAt, inside, process } = yield* setUp
      yield* crashAt(AFTER_B, write.execute(doc))
      yield* Layer.build(recovering([knowing])).pipe(inside(yield* process()))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual((yield* World).log, ["a", "b", "undo b", "undo a"])
    }).pipe(Effect.scoped, Effect.provide(World.layer))
  )
})

describe("a process that only stood still", () => {
  it.effect("starts no further step once its saga was settled, and says that its lease was lost", () =>
    Effect.gen(function* () {
      const { inside, process } = yield* setUp
      yield* TestClock.adjust("1 second")
      const slow = yield* process([{ at: AFTER_B, fault: "pauseAfter" }])
      const fiber = yield* Effect.forkChild(Effect.exit(inside(slow)(write.execute(doc))))
      yield* TestClock.adjust("3 seconds")
      yield* Layer.build(recovering([write])).pipe(inside(yield* process()))
      yield* TestClock.adjust("20 seconds")
      const exit = yield* Fiber.join(fiber)
      assert.match(exit._tag === "Failure" ? Cause.pretty(exit.cause) : "", /lease|LockLost/)
      assert.deepStrictEqual((yield* World).log, ["a", "b", "undo b", "undo a"])
    }).pipe(Effect.scoped, Effect.provide(World.layer))
  )
})
