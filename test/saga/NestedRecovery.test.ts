/** Sagas within sagas after a crash, and letters whose steps have changed since. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer } from "effect"
import { DeadLetterQueue, type NewDeadLetter, Saga, SagaMemory } from "effect-saga"
import { definitionOf } from "../../src/saga/internal/Definition.ts"
import { rebuild } from "../../src/saga/internal/Rebuild.ts"
import { makeReplay, recall } from "../../src/saga/internal/Replay.ts"
import { type JournaledCall, type JournalRecord, journaledCalls } from "../../src/schema/Journal.ts"
import { entry } from "../contract/DeadLetterQueueContract.ts"
import { a, b, behave, c, Doc, notify, Refused, World, write } from "./World.ts"

const layer = Layer.merge(SagaMemory.layerWith({ retries: false }), World.layer)
const doc = { id: "1", text: "x" }
const parts = { payload: Doc, error: Refused, resource: (d: typeof Doc.Type) => d.id }

const inner = Saga.asStep(
  Saga.make("Inner", { ...parts, steps: [a, b], run: (d) => Effect.asVoid(Effect.andThen(a(d), b(d))) })
)
const outer = Saga.make("Outer", {
  ...parts,
  steps: [inner, c, notify],
  run: Effect.fn(function* (d) {
    yield* inner(d)
    yield* notify(d)
    yield* c(d)
  })
})

describe("a nested saga", () => {
  it.effect("is undone by a redrive, step by step under its path", () =>
    Effect.gen(function* () {
      const before = Saga.make("Before", {
        ...parts,
        steps: [inner, c],
        run: (d) => Effect.asVoid(Effect.andThen(inner(d), c(d)))
      })
      yield* behave("c", "fails")
      yield* behave("undo a", "fails")
      yield* Effect.flip(before.execute(doc))
      const queue = yield* DeadLetterQueue
      const [letter] = yield* queue.list()
      assert.strictEqual(letter?.step, "Inner/a")
      yield* behave("undo a", "works")
      assert.strictEqual((yield* Saga.redrive([before]).one(letter?.id ?? "")).status, "resolved")
      assert.strictEqual((yield* World).rows.size, 0)
    }).pipe(Effect.provide(layer))
  )

  it.effect("is not run again when what came after it is brought to its end", () =>
    Effect.gen(function* () {
      yield* behave("c", "fails")
      yield* Effect.flip(outer.execute(doc))
      yield* behave("c", "works")
      const world = yield* World
      world.log.length = 0
      const [letter] = yield* (yield* DeadLetterQueue).list()
      yield* Saga.redrive([outer]).one(letter?.id ?? "")
      assert.deepStrictEqual(world.log, ["c"])
    }).pipe(Effect.provide(layer))
  )

  it.effect("that failed and was handled fails in the same way when the rest is brought to its end", () =>
    Effect.gen(function* () {
      const handled = Saga.make("Handled", {
        ...parts,
        steps: [inner, c, notify],
        run: Effect.fn(function* (d) {
          const failed = yield* Effect.match(inner(d), { onFailure: () => true, onSuccess: () => false })
          yield* notify({ ...d, text: failed ? "without" : "with" })
          yield* c(d)
        })
      })
      yield* behave("b", "fails")
      yield* behave("c", "fails")
      yield* Effect.flip(handled.execute(doc))
      yield* behave("b", "works")
      yield* behave("c", "works")
      const world = yield* World
      world.log.length = 0
      const [letter] = yield* (yield* DeadLetterQueue).list()
      yield* Saga.redrive([handled]).one(letter?.id ?? "")
      assert.deepStrictEqual(world.log, ["c"], "the nested saga is told to have failed, not run")
      assert.strictEqual(world.rows.get("notify:1"), "without")
    }).pipe(Effect.provide(layer))
  )
})

describe("a dead letter that does not fit the steps any more", () => {
  const add = (changes: Partial<NewDeadLetter>) =>
    Effect.flatMap(DeadLetterQueue, (queue) =>
      queue.add(entry({ saga: "Write", step: "a", input: doc, before: null, output: null, metadata: {}, ...changes }))
    )
  for (const [changes, said] of [
    [{ before: 7 }, /before-image does not fit/],
    [{ before: null, output: 7, metadata: { outputKnown: true } }, /output does not fit|before-image/],
    [{ kind: "retriable" }, /a is not retriable any more/],
    [{ step: "notify" }, /notify cannot be undone any more/],
    [{ step: "Inner/a" }, /no step Inner\/a/],
    [{ kind: "forward", step: "", input: 7 }, /payload does not fit/],
    [{ kind: "forward", step: "", metadata: { records: 7 } }, /outcomes cannot be read/]
  ] satisfies ReadonlyArray<readonly [Partial<NewDeadLetter>, RegExp]>) {
    it.effect(`is left as it is: ${said.source}`, () =>
      Effect.gen(function* () {
        const id = yield* add(changes)
        const error = yield* Effect.flip(Saga.redrive([write]).one(id))
        assert.match(error.message, said)
        const letter = yield* (yield* DeadLetterQueue).get(id)
        assert.deepStrictEqual([letter.status, letter.retryCount], ["pending", 0])
        assert.match(letter.problem ?? "", said)
      }).pipe(Effect.provide(layer))
    )
  }

  it.effect("is done when its rest is superseded by a later saga", () =>
    Effect.gen(function* () {
      const id = yield* add({
        kind: "forward",
        step: "",
        metadata: { records: [] }
      })
      yield* behave("a", "dies")
      assert.match((yield* Effect.flip(Saga.redrive([write]).one(id))).message, /failed again: a crashed/)
    }).pipe(Effect.provide(layer))
  )
})

describe("what a journal tells", () => {
  const started = (call: number, path: string, changes: object = {}): JournalRecord => ({
    _tag: "Started",
    call,
    parent: null,
    kind: "undoable",
    path,
    fence: 1,
    input: doc,
    before: null,
    ...changes
  })
  const calls = (...records: ReadonlyArray<JournalRecord>) => journaledCalls(records)
  const told = (known: ReadonlyArray<JournaledCall>, input: unknown) =>
    recall(makeReplay(known), "a", definitionOf(a), input)

  it("is matched by name, order and input, and by nothing else", () => {
    assert.strictEqual(told([], doc)._tag, "New")
    assert.strictEqual(told(calls(started(0, "b")), doc)._tag, "New")
    assert.strictEqual(told(calls(started(0, "a")), { ...doc, text: "y" })._tag, "Differs")
    assert.strictEqual(told(calls(started(0, "a")), 7)._tag, "Differs")
    assert.strictEqual(told(calls(started(0, "a", { before: 7 })), doc)._tag, "Differs")
    assert.strictEqual(
      told(calls(started(0, "a"), { _tag: "Done", call: 0, finished: 0, output: 7 }), doc)._tag,
      "Differs"
    )
    const failed = { _tag: "Failed", call: 0, untouched: true, error: { _tag: "Unknown" } } as const
    assert.strictEqual(told(calls(started(0, "a"), failed), doc)._tag, "Differs")
    const ended = told(calls(started(0, "a"), { _tag: "Done", call: 0, finished: 0, output: "a-1" }), doc)
    assert.deepStrictEqual(ended, { _tag: "Ended", call: 0, exit: Exit.succeed("a-1") })
  })

  it("keeps what was known of a call that is begun again, and ignores outcomes of calls that never began", () => {
    const [call, ...others] = calls(
      started(0, "a"),
      { _tag: "Done", call: 0, finished: 0, output: "a-1" },
      started(0, "a"),
      { _tag: "Undone", call: 9 }
    )
    assert.strictEqual(call?.done?.output, "a-1")
    assert.deepStrictEqual(others, [])
  })

  for (const [records, said] of [
    [[started(0, "a", { parent: 5 })], /call 0 belongs to none/],
    [[started(0, "gone")], /no step gone any more/],
    [[started(0, "notify")], /notify cannot be undone/],
    [[started(0, "a", { input: 7 })], /input of a does not fit/],
    [[started(0, "a", { before: 7 })], /before-image of a does not fit/],
    [[started(0, "a", { before: null }), { _tag: "Done", call: 0, finished: 0, output: 7 }], /output of a|before-image/]
  ] satisfies ReadonlyArray<readonly [ReadonlyArray<JournalRecord>, RegExp]>) {
    it(`is not undone when it does not fit: ${said.source}`, () => {
      const steps = new Map([a, b, c, notify].map((step) => [step.stepName, definitionOf(step)]))
      // Nothing of the execution is asked before the records fit.
      const frame = { root: undefined, call: null, path: "", steps, calls: [] }
      assert.match(String(Reflect.apply(rebuild, undefined, [frame, records])), said)
    })
  }
})
