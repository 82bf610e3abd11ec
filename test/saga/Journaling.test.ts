/** When a running saga writes its journal, and what comes with what. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import {
  DeadLetterQueue,
  JournalError,
  type JournalRecord,
  MemoryJournal,
  Saga,
  SagaJournal,
  SagaMemory,
  Sagas,
  Step
} from "effect-saga"

const log: Array<string> = []
const said = (records: ReadonlyArray<JournalRecord>) =>
  records.map((record) => (record._tag === "Undoing" ? "Undoing" : `${record._tag} ${record.call}`)).join(", ")
/** What is asked of the journal, and `down` while its next questions fail. */
let down = 0
const watched = Layer.effect(
  SagaJournal,
  Effect.map(SagaJournal, (journal): SagaJournal => {
    const asked = <A>(what: string, answer: Effect.Effect<A, JournalError>) =>
      Effect.suspend(() => {
        log.push(what)
        const answered = down-- > 0 ? Effect.fail(new JournalError({ operation: what, cause: "down" })) : answer
        return Effect.andThen(Effect.yieldNow, answered)
      })
    return {
      ...journal,
      open: (saga, records = []) => asked(`open ${said(records)}`.trim(), journal.open(saga, records)),
      append: (ref, owner, records) => asked(`append ${said(records)}`, journal.append(ref, owner, records)),
      close: (ref, owner, records, end) =>
        asked(`close ${said(records)} ${end.outcome}`, journal.close(ref, owner, records, end))
    }
  })
).pipe(Layer.provide(MemoryJournal.layer))
const world = Layer.merge(SagaMemory.layer, watched)

const step = <const Name extends string>(name: Name, error?: "refused") =>
  Step.make(name, {
    input: Schema.String,
    error: Schema.Literal("refused"),
    isTransient: () => false,
    execute: () =>
      Effect.suspend(() => {
        log.push(name)
        return error === undefined ? Effect.void : Effect.fail(error)
      }),
    compensate: () => Effect.sync(() => void log.push(`undo ${name}`))
  })
const [a, b, refused] = [step("a"), step("b"), step("refused", "refused")]
const reading = Step.make("reading", {
  input: Schema.String,
  before: Schema.String,
  prepare: () =>
    Effect.as(
      Effect.sync(() => void log.push("prepare")),
      "before"
    ),
  execute: () => Effect.sync(() => void log.push("reading")),
  compensate: () => Effect.void
})
const last = Step.retriable("last", {
  input: Schema.String,
  execute: () => Effect.sync(() => void log.push("last"))
})
const common = { payload: Schema.String, error: Schema.Literal("refused"), resource: (id: string) => id } as const

const test = (name: string, effect: Effect.Effect<void, unknown, Saga.SagaServices>) =>
  it.effect(name, () =>
    Effect.suspend(() => {
      log.length = 0
      down = 0
      return Effect.provide(effect, Layer.fresh(world))
    })
  )

describe("the journal of a running saga", () => {
  const two = Saga.make("Two", { ...common, steps: [a, b], run: (id) => Effect.andThen(a(id), b(id)) })

  test(
    "is opened with the first intent and closed with the last outcome",
    Effect.gen(function* () {
      yield* two.execute("1")
      assert.deepStrictEqual(log, ["open Started 0", "a", "append Done 0, Started 1", "b", "close Done 1 succeeded"])
    })
  )
  test(
    "is opened before a step reads what it will replace",
    Effect.gen(function* () {
      const saga = Saga.make("Reading", { ...common, steps: [reading], run: (id) => reading(id) })
      yield* saga.execute("1")
      assert.deepStrictEqual(log, ["open", "prepare", "append Started 0", "reading", "close Done 0 succeeded"])
    })
  )
  test(
    "is opened once by steps that start at the same time",
    Effect.gen(function* () {
      const saga = Saga.make("Both", {
        ...common,
        steps: [a, b],
        run: (id) => Effect.all([a(id), b(id)], { concurrency: "unbounded", discard: true })
      })
      yield* saga.execute("1")
      assert.deepStrictEqual(
        log.filter((line) => line.startsWith("open")),
        ["open Started 0"]
      )
      assert.include(log, "append Started 1")
    })
  )
  test(
    "that cannot even be asked keeps no other step waiting",
    Effect.gen(function* () {
      const journal = yield* SagaJournal
      const asked: Array<string> = []
      const throwing: SagaJournal = {
        ...journal,
        open: (saga, records = []) => {
          asked.push(said(records))
          if (asked.length > 1) return journal.open(saga, records)
          return Effect.suspend(() => {
            throw new Error("not asked")
          })
        }
      }
      const hasty: SagaJournal = {
        ...throwing,
        open: (saga, records) => {
          if (asked.length > 0) return throwing.open(saga, records)
          asked.push(said(records ?? []))
          throw new Error("not asked")
        }
      }
      const both = Saga.make("Both", {
        ...common,
        steps: [a, b],
        run: (id) => Effect.all([a(id), b(id)], { concurrency: "unbounded", discard: true })
      })
      for (const service of [throwing, hasty]) {
        asked.length = 0
        const exit = yield* Effect.exit(Effect.provideService(both.execute("1"), SagaJournal, service))
        assert.include(String(exit), "not asked")
        assert.deepStrictEqual(asked, ["Started 0", ""])
      }
    })
  )
  test(
    "is opened before the point of no return",
    Effect.gen(function* () {
      const saga = Saga.make("Last", { ...common, steps: [last], run: (id) => last(id) })
      yield* saga.execute("1")
      assert.deepStrictEqual(log, ["open", "append Started 0", "last", "close Done 0 succeeded"])
    })
  )
  test(
    "says that undoing begins before anything is undone",
    Effect.gen(function* () {
      const saga = Saga.make("Undone", {
        ...common,
        steps: [a, refused],
        run: (id) => Effect.andThen(a(id), refused(id))
      })
      assert.strictEqual(yield* Effect.flip(saga.execute("1")), "refused")
      assert.deepStrictEqual(log.slice(2), [
        "append Done 0, Started 1",
        "refused",
        "append Failed 1, Undoing",
        "undo refused",
        "undo a",
        "close Undone 1, Undone 0 undone"
      ])
    })
  )
  test(
    "is there for a saga without a call too, and for one that fails before its first",
    Effect.gen(function* () {
      const saga = Saga.make("None", {
        ...common,
        steps: [a],
        run: (id) => (id === "bad" ? Effect.fail("refused" as const) : Effect.void)
      })
      const { sagaId } = yield* saga.executeReceipt("1")
      assert.strictEqual((yield* Sagas.get(sagaId))?.outcome, "succeeded")
      yield* Effect.flip(saga.execute("bad"))
      assert.deepStrictEqual(log, ["open", "close  succeeded", "open", "append Undoing", "close  undone"])
    })
  )
  test(
    "lets no step start while it cannot be opened, and leaves nothing behind",
    Effect.gen(function* () {
      for (const saga of [
        two,
        Saga.make("Reading", { ...common, steps: [reading], run: (id) => reading(id) }),
        Saga.make("Last", { ...common, steps: [last], run: (id) => last(id) }),
        Saga.make("None", { ...common, steps: [], run: () => Effect.void })
      ]) {
        down = 1
        log.length = 0
        const error = yield* Effect.flip(saga.execute("1"))
        assert.instanceOf(error, JournalError, saga.sagaName)
        assert.strictEqual(log.length, 1, saga.sagaName)
        yield* saga.execute("1")
        yield* saga.execute("2")
      }
      assert.strictEqual(yield* (yield* DeadLetterQueue).size, 0)
    })
  )
})
