/** The fused guard with the journal on the same Redis: the end of a saga and that of its journal are one question. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema } from "effect"
import { DeadLetterQueue, IoRedis, Saga, SagaJournal, SagaLive, Step } from "effect-saga"
import * as Journal from "../../src/layers/redis/RedisJournalScripts.ts"
import { ledgerKey, lockKey } from "../../src/layers/redis/RedisKeys.ts"
import { kindOf } from "../../src/layers/redis/SagaGuardScripts.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import { servers } from "../servers/inject.ts"
import { type Faults, faulty, lost, once } from "./FaultyRedis.ts"
import { asked, commandsDuring, own, plain, url } from "./GuardWorld.ts"

const names = new Map<unknown, string>([
  [Journal.open, "open"],
  [Journal.append, "append"],
  [Journal.close, "close"]
])

/** A saga of three steps, what they did, and what happens in the last of them. */
const sagaDoing = (last: (id: string) => Effect.Effect<void, never, Step.SagaRun> = () => Effect.void) => {
  const done: Array<string> = []
  const step = (name: string, also: (id: string) => Effect.Effect<void, never, Step.SagaRun> = () => Effect.void) =>
    Step.make(name, {
      input: Schema.String,
      execute: (id) =>
        Effect.andThen(
          Effect.sync(() => void done.push(name)),
          also(id)
        ),
      compensate: () => Effect.sync(() => void done.push(`undo ${name}`))
    })
  const [one, two, three] = [step("one"), step("two"), step("three", last)]
  const saga = Saga.make("Journaled", {
    payload: Schema.String,
    success: Schema.String,
    resource: (id) => id,
    steps: [one, two, three],
    run: Effect.fnUntraced(function* (id) {
      // What equals the payload is not written again, and would not be seen.
      yield* one(`${id} 1`)
      yield* two(`${id} 2`)
      yield* three(`${id} 3`)
      return "written"
    })
  })
  return { saga, done }
}

/** The shipped layers over a Redis that is watched: each is a process of its own. */
const live = Effect.fnUntraced(function* (faults: Faults = {}) {
  const events: Array<string> = []
  const told = (what: string, script: object) =>
    void events.push(`${names.get(script) ?? kindOf(script) ?? "another"} ${what}`)
  const { after, before } = faults
  const watched = faulty({
    before: (script) => {
      told("asked", script)
      return before?.(script) ?? Effect.void
    },
    after: (script) =>
      Effect.andThen(
        after?.(script) ?? Effect.void,
        Effect.sync(() => told("answered", script))
      )
  })
  const layer = SagaLive.layerWith({ journal: "redis" }).pipe(
    Layer.provide(watched),
    Layer.provide(IoRedis.layerUrl(url))
  )
  const context = yield* Layer.build(Layer.fresh(layer))
  return { context, events, journal: Context.get(context, SagaJournal) }
})

const bothLost = () => {
  const faults = [once("leave", lost), once(Journal.close, lost)]
  return (script: object) => Effect.forEach(faults, (fault) => fault(script), { discard: true })
}

const locksLeft = (id: string) =>
  Effect.scoped(Effect.flatMap(plain, (client) => asked(() => client.exists(lockKey(id)))))

describe.skipIf(servers().redis === null)("the fused guard beside its journal", () => {
  it.layer(PgliteClient.layer, { excludeTestServices: true, timeout: 60_000 })((test) => {
    test.effect("asks five times for a saga of three steps: to enter, for each call, and for both its ends", () =>
      Effect.gen(function* () {
        const { context, events } = yield* live()
        const { saga } = sagaDoing()
        const run = (id: string) => Effect.provideContext(saga.execute(id, { idempotencyKey: id }), context)
        yield* run(own("warm"))
        events.length = 0
        const id = own("counted")
        assert.deepStrictEqual(
          yield* commandsDuring(run(id), id),
          Array.from({ length: 5 }, () => "EVALSHA")
        )
        assert.deepStrictEqual(events, [
          ...["enter asked", "enter answered"],
          ...["open asked", "open answered"],
          ...["append asked", "append answered"],
          ...["append asked", "append answered"],
          ...["leave asked", "leave answered"]
        ])
        assert.deepStrictEqual(yield* commandsDuring(run(id), id), ["GET"])
      }).pipe(Effect.scoped)
    )

    test.effect("records nothing of a saga whose journal another has claimed, and leaves its lock to the next", () =>
      Effect.gen(function* () {
        const { context, journal } = yield* live()
        const id = own("claimed")
        const ids: Array<string> = []
        // Whoever claims it believes its owner to be gone.
        const claimed = Effect.gen(function* () {
          const { fence, resources, sagaId } = yield* Step.SagaRun
          if (ids.push(sagaId) > 1) return
          assert.isTrue(yield* journal.claim({ sagaId, resources }, fence, fence + 1))
        }).pipe(Effect.orDie)
        const { done, saga } = sagaDoing(() => claimed)
        const run = Effect.provideContext(saga.executeReceipt(id), context)
        const error = yield* Effect.flip(run)
        assert.strictEqual(error._tag === "LockError" ? error.reason._tag : error._tag, "LockLost")
        assert.strictEqual(yield* locksLeft(id), 0)
        assert.strictEqual((yield* journal.get(ids[0] ?? ""))?.status, "running")

        done.length = 0
        const repeat = yield* run
        assert.isFalse(repeat.replayed)
        assert.deepStrictEqual(done, ["undo three", "undo two", "undo one", "one", "two", "three"])
        assert.strictEqual((yield* journal.get(ids[0] ?? ""))?.outcome, "undone")
      }).pipe(Effect.scoped)
    )

    for (const [what, closes, faults] of [
      ["the reply to its end is lost", 1, { after: once("leave", lost) }],
      ["its end is never heard", 1, { before: once("leave", lost) }],
      ["the replies to its end and to the journal's are lost", 2, { after: bothLost() }]
    ] as const) {
      test.effect(`records the result though ${what}`, () =>
        Effect.gen(function* () {
          const { context, events, journal } = yield* live(faults)
          const { done, saga } = sagaDoing()
          const run = Effect.provideContext(saga.executeReceipt(own("lost")), context)
          const first = yield* run
          assert.deepStrictEqual([first.replayed, first.recorded], [false, true])
          // Each is asked for by itself then.
          assert.strictEqual(events.filter((event) => event === "close asked").length, closes)
          assert.strictEqual((yield* journal.get(first.sagaId))?.outcome, "succeeded")
          const repeat = yield* run
          assert.deepStrictEqual([repeat.replayed, repeat.value], [true, "written"])
          assert.deepStrictEqual(done, ["one", "two", "three"])
        }).pipe(Effect.scoped)
      )
    }

    test.effect("has succeeded with its journal, though another was admitted and nothing can be recorded", () =>
      Effect.gen(function* () {
        const { context, events, journal } = yield* live()
        const id = own("passed")
        const { done, saga } = sagaDoing(() =>
          Effect.scoped(Effect.flatMap(plain, (client) => asked(() => client.set(ledgerKey(id), "9007199254740991"))))
        )
        const receipt = yield* Effect.provideContext(saga.executeReceipt(id), context)
        assert.deepStrictEqual([receipt.value, receipt.recorded], ["written", false])
        assert.deepStrictEqual(done, ["one", "two", "three"])
        const closed = yield* journal.get(receipt.sagaId)
        assert.deepStrictEqual([closed?.status, closed?.outcome], ["finished", "succeeded"])
        // Once with the journal's end, once by itself.
        assert.strictEqual(events.filter((event) => event === "leave answered").length, 2)
        assert.notInclude(events, "close asked")
        assert.strictEqual(yield* locksLeft(id), 0)
      }).pipe(Effect.scoped)
    )

    test.effect("waits for a journal that must stay open for its dead letters, and then ends", () =>
      Effect.gen(function* () {
        const { context, events, journal } = yield* live()
        const letters = Context.get(context, DeadLetterQueue)
        const notify = Step.retriable("notify", { input: Schema.String, execute: () => Effect.die("it is down") })
        const saga = Saga.make("Parking", {
          payload: Schema.String,
          success: Schema.String,
          resource: (id) => id,
          steps: [notify],
          run: (id) => Effect.as(notify(id), "written")
        })
        const id = own("parked")
        // The table is down: what was parked is spooled, and not in it yet.
        const down = Context.add(context, DeadLetterQueue, { ...letters, drained: Effect.succeed(false) })
        const run = Effect.provideContext(saga.executeReceipt(id), down)
        const receipt = yield* run
        assert.strictEqual(receipt.parked.length, 1)
        assert.isTrue(receipt.recorded)
        assert.deepStrictEqual(events.slice(-4), ["append asked", "append answered", "leave asked", "leave answered"])
        assert.notInclude(events, "close asked")
        assert.notStrictEqual((yield* journal.get(receipt.sagaId))?.status, "finished")
        assert.strictEqual(yield* locksLeft(id), 0)
        assert.isTrue((yield* run).replayed)
      }).pipe(Effect.scoped)
    )
  })
})
