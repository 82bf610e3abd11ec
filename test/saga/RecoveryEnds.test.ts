/** The ends that recovery can come to, beside a plain undo: parked, waiting for the spool, stuck for now. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Layer, Metric, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { DeadLetterQueue, Idempotency, JournalError, Saga, SagaJournal, SagaRecovery } from "effect-saga"
import * as MemoryDeadLetterQueue from "../../src/layers/memory/MemoryDeadLetterQueue.ts"
import * as MemoryIdempotency from "../../src/layers/memory/MemoryIdempotency.ts"
import * as MemoryJournal from "../../src/layers/memory/MemoryJournal.ts"
import { makeLeaseTable } from "../../src/testing/LeaseTable.ts"
import { makeProcess } from "../../src/testing/Process.ts"
import { a, b, behave, Doc, notify, Refused, World } from "./World.ts"

const lease = Duration.seconds(2)
const doc = { id: "1", text: "x" }
const parts = { payload: Doc, error: Refused, resource: (d: typeof Doc.Type) => d.id, steps: [a, b, notify] }
/** Past its point of no return before its last step. */
const late = (text?: string) =>
  Saga.make("Late", {
    ...parts,
    run: Effect.fn(function* (d) {
      yield* a({ ...d, text: text ?? d.text })
      yield* notify(d)
      yield* b(d)
    })
  })
// open, (prepare, append, execute) for a, append and execute of notify, (prepare, append, execute) for b, close.
const NOTIFIED = 5
const A_DONE = 3

const setUp = Effect.gen(function* () {
  const shared = yield* Layer.build(
    Layer.mergeAll(MemoryIdempotency.layer, MemoryJournal.layer, MemoryDeadLetterQueue.layer)
  )
  const state = { drained: true, journalWorks: true }
  const letters = Context.get(shared, DeadLetterQueue)
  const journal = Context.get(shared, SagaJournal)
  const servers = {
    leases: makeLeaseTable(lease),
    lease,
    idempotency: Context.get(shared, Idempotency),
    journal: {
      ...journal,
      claim: (...args: Parameters<typeof journal.claim>) =>
        state.journalWorks
          ? journal.claim(...args)
          : Effect.fail(new JournalError({ operation: "claim", cause: new Error("down") }))
    },
    deadLetters: { ...letters, drained: Effect.sync(() => state.drained) }
  }
  const world = yield* World
  const inside =
    (services: Context.Context<Saga.SagaServices>) =>
    <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.provideContext(effect, Context.add(services, World, world))
  yield* TestClock.adjust("1 second")
  const crash = Effect.fnUntraced(function* (at: number) {
    const dying = yield* makeProcess(servers, [{ at, fault: "crashAfter" }])
    yield* Effect.forkDetach(inside(dying.services)(late().execute(doc)))
    yield* TestClock.adjust("4 seconds")
    assert.isTrue(dying.isCrashed(), dying.events.join(", "))
  })
  const recover = Effect.fnUntraced(function* (saga: Saga.Any) {
    const process = yield* makeProcess(servers, [])
    const recovery = SagaRecovery.layer({ sagas: [saga], after: lease, schedule: Schedule.spaced("1 second") })
    yield* inside(process.services)(Layer.build(recovery))
    yield* TestClock.adjust("20 seconds")
  })
  return { state, journal, letters, crash, recover }
})

const live = <E>(body: Effect.Effect<void, E, World | import("effect").Scope.Scope>) =>
  body.pipe(Effect.scoped, Effect.provide(World.layer))

describe("recovery", () => {
  it.effect("brings a saga to its end that was in the middle of what follows its point of no return", () =>
    live(
      Effect.gen(function* () {
        const { crash, journal, recover } = yield* setUp
        yield* crash(NOTIFIED)
        yield* recover(late())
        // That notify was done had not been written down: it is done again, under the same call.
        assert.deepStrictEqual((yield* World).log, ["a", "notify", "notify", "b"])
        assert.strictEqual((yield* journal.list())[0]?.outcome, "succeeded")
      })
    )
  )

  it.effect("parks the rest of such a saga when it fails again, and a redrive finishes it", () =>
    live(
      Effect.gen(function* () {
        const { crash, journal, letters, recover } = yield* setUp
        yield* crash(NOTIFIED)
        yield* behave("b", "fails")
        yield* recover(late())
        const [letter] = yield* letters.list()
        assert.strictEqual(letter?.kind, "forward")
        assert.strictEqual((yield* journal.list())[0]?.outcome, "parked")
      })
    )
  )

  it.effect("parks it when it does otherwise than was written down", () =>
    live(
      Effect.gen(function* () {
        const { crash, letters, recover } = yield* setUp
        yield* crash(NOTIFIED)
        yield* recover(late("other"))
        const [letter] = yield* letters.list()
        assert.match(letter?.errorMessage ?? "", /otherwise than the journal says/)
        assert.deepStrictEqual((yield* World).log, ["a", "notify"])
      })
    )
  )

  it.effect("does not touch one whose payload no longer fits", () =>
    live(
      Effect.gen(function* () {
        const { crash, journal, recover } = yield* setUp
        yield* crash(NOTIFIED)
        yield* recover(
          Saga.make("Late", { payload: Schema.Int, resource: () => "1", steps: [], run: () => Effect.void })
        )
        assert.match((yield* journal.list())[0]?.problem ?? "", /payload does not fit/)
      })
    )
  )

  it.effect("closes no journal before its dead letters are in their table", () =>
    live(
      Effect.gen(function* () {
        const { crash, journal, letters, recover, state } = yield* setUp
        yield* crash(A_DONE)
        state.drained = false
        yield* behave("undo a", "dies")
        yield* recover(late())
        const [open] = yield* journal.list()
        assert.deepStrictEqual(
          [open?.status, open?.problem],
          ["compensating", "its dead letters are still in the spool"]
        )
        state.drained = true
        yield* TestClock.adjust("5 seconds")
        const [closed] = yield* journal.list()
        assert.deepStrictEqual([closed?.status, closed?.outcome], ["finished", "parked"])
        assert.strictEqual((yield* letters.list()).length, 1)
      })
    )
  )

  it.effect("tries again when the journal does not answer, and counts what became of what it found", () =>
    live(
      Effect.gen(function* () {
        const { crash, journal, recover, state } = yield* setUp
        yield* crash(A_DONE)
        state.journalWorks = false
        yield* recover(late())
        assert.match((yield* journal.list())[0]?.problem ?? "", /could not claim/)
        state.journalWorks = true
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* journal.list())[0]?.outcome, "undone")
        const counted = (yield* Metric.snapshot).filter(({ id }) => id === "saga_recoveries_total")
        const results = counted.map(({ attributes }) => attributes?.result)
        for (const result of ["found", "undone", "stuck"]) assert.include(results, result)
      })
    )
  )
})
