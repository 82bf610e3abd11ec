/** Attempts that are to begin in one turn of the event loop while many run: they begin together, each as it would alone. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Option, Scheduler, Schema, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { MemoryJournal, Saga, SagaJournal, SagaMemory, Step } from "effect-saga"
import { Together } from "../../src/saga/internal/Together.ts"
import { spanRecorder } from "./SpanRecorder.ts"

const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))

describe("what begins in one turn", () => {
  it.effect("begins at the end of the turn, in order, where many run", () =>
    Effect.gen(function* () {
      const together = new Together(new Scheduler.MixedScheduler())
      const log: Array<number> = []
      for (let n = 0; n < 15; n++) together.begins()
      assert.isFalse(together.isMany)
      together.begins()
      assert.isTrue(together.isMany)
      const begin = (n: number) =>
        Effect.andThen(
          together.turn,
          Effect.sync(() => log.push(n))
        )
      for (const n of [1, 2, 3]) yield* Effect.forkChild(begin(n), { startImmediately: true })
      assert.deepStrictEqual(log, [])
      yield* turn
      assert.deepStrictEqual(log, [1, 2, 3])
      together.ends()
      assert.isFalse(together.isMany)
    })
  )
})

const Doc = Schema.Struct({ id: Schema.String })
const ids = Array.from({ length: 40 }, (_, n) => `doc ${n}`)

interface Ways {
  readonly prepares?: boolean
  /** Their first attempts fail. */
  readonly retries?: boolean
  /** Begun past the point of no return. */
  readonly pivoted?: boolean
  /** Called by a saga that waits five seconds for it. */
  readonly nested?: boolean
}

const MANY = 16

/** Sagas that begin in one turn, and whose first steps all wait for one thing. `many`: so many have begun. */
const waiting = Effect.fnUntraced(function* ({
  nested = false,
  pivoted = false,
  prepares = false,
  retries = false
}: Ways = {}) {
  const [gate, many] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
  const go = yield* Deferred.make<void, string>()
  const log: Record<"begun" | "first" | "second" | "undone", Array<string>> = {
    begun: [],
    first: [],
    second: [],
    undone: []
  }
  const tries = new Map<string, number>()
  const writes = (id: string) =>
    Effect.suspend(() => {
      const tried = tries.get(id) ?? 0
      tries.set(id, tried + 1)
      if (retries && tried === 0) return Effect.fail("again")
      if (log.begun.push(id) === MANY) Deferred.doneUnsafe(many, Effect.void)
      const wrote = Effect.sync(() => {
        log.first.push(id)
        return `row of ${id}`
      })
      return Effect.andThen(Deferred.await(go), wrote)
    })
  const common = {
    input: Doc,
    output: Schema.String,
    error: Schema.String,
    isTransient: (error: string) => error === "again",
    notApplied: () => true
  }
  const undo = (id: string, output: Option.Option<string>) =>
    Effect.sync(() => void log.undone.push(Option.getOrElse(output, () => `what ${id} may have`)))
  const first = prepares
    ? Step.make("first", {
        ...common,
        before: Schema.String,
        prepare: () => Effect.succeed("before"),
        execute: ({ id }) => writes(id),
        compensate: ({ id }, { output }) => undo(id, output)
      })
    : Step.make("first", {
        ...common,
        execute: ({ id }) => writes(id),
        compensate: ({ id }, { output }) => undo(id, output)
      })
  const second = Step.make("second", {
    ...common,
    execute: ({ id }) => Effect.sync(() => `${log.second.push(id)}`),
    compensate: () => Effect.void
  })
  const told = Step.retriable("told", {
    input: Doc,
    error: Schema.Never,
    isTransient: () => true,
    execute: () => Effect.void
  })
  const saga = Saga.make("Together", {
    payload: Doc,
    success: Schema.String,
    error: Schema.String,
    resource: ({ id }) => id,
    steps: [told, first, second],
    run: Effect.fnUntraced(function* (doc) {
      if (pivoted) yield* Effect.andThen(told(doc), Deferred.await(gate))
      yield* first(doc)
      yield* second(doc)
      return doc.id
    })
  })
  const inner = Saga.asStep(saga)
  const outer = Saga.make("Outer", {
    payload: Doc,
    success: Schema.String,
    error: Schema.String,
    resource: ({ id }) => id,
    steps: [inner],
    run: (doc) =>
      inner(doc).pipe(
        Effect.timeout("5 seconds"),
        Effect.catchTag("TimeoutError", () => Effect.fail("too late"))
      )
  })
  const one = (id: string) => Effect.forkChild((nested ? outer : saga).execute({ id }), { startImmediately: true })
  const fibers = yield* Effect.forEach(ids, one)
  const allBegin = Effect.gen(function* () {
    if (retries) yield* TestClock.adjust("1 second")
    for (let n = 0; n < 10 && log.begun.length < ids.length; n++) yield* turn
    assert.deepStrictEqual(sorted(log.begun), sorted(ids))
  })
  return { gate, go, log, fibers, many, allBegin }
})

const rows = ids.map((id) => `row of ${id}`)
const perhaps = (all: ReadonlyArray<string>) => sorted(all.map((id) => `what ${id} may have`))
const sorted = (all: ReadonlyArray<string>) => [...all].sort()

describe("sagas whose steps begin in one turn", () => {
  it.effect("begin the first of them at once, the others together, and each comes to its own end", () =>
    Effect.gen(function* () {
      const { allBegin, fibers, go, log } = yield* waiting()
      assert.deepStrictEqual(log.begun, ids.slice(0, MANY))
      yield* allBegin
      assert.deepStrictEqual(log.begun, ids)
      Deferred.doneUnsafe(go, Effect.void)
      assert.deepStrictEqual(yield* Fiber.joinAll(fibers), ids)
      assert.deepStrictEqual([log.first, sorted(log.second), log.undone], [ids, sorted(ids), []])
    }).pipe(Effect.provide(SagaMemory.layer))
  )

  it.effect("fail each with its step's error", () =>
    Effect.gen(function* () {
      const { allBegin, fibers, go, log } = yield* waiting()
      yield* allBegin
      Deferred.doneUnsafe(go, Effect.fail("refused"))
      for (const fiber of fibers) assert.strictEqual(yield* Effect.flip(Fiber.join(fiber)), "refused")
      assert.deepStrictEqual([log.first, log.second, log.undone], [[], [], []])
    }).pipe(Effect.provide(SagaMemory.layer))
  )

  it.effect("have gone on when a test's clock has been turned", () =>
    Effect.gen(function* () {
      const { go, log } = yield* waiting()
      yield* Effect.forkChild(Effect.delay(Deferred.done(go, Exit.void), "1 second"))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(sorted(log.second), sorted(ids))
    }).pipe(Effect.provide(SagaMemory.layer))
  )
})

const { tracer } = spanRecorder()
const journaled = Layer.provideMerge(SagaMemory.layer, MemoryJournal.layer)
const observed = Layer.merge(SagaMemory.layer, Layer.succeed(Tracer.Tracer, tracer))

describe.each([
  ["in a first attempt", {}, SagaMemory.layer],
  ["with a journal", {}, journaled],
  ["seen by a tracer", {}, observed],
  ["having prepared", { prepares: true }, SagaMemory.layer],
  ["in a second attempt", { retries: true }, SagaMemory.layer],
  ["in a second attempt, with a journal", { retries: true }, journaled]
] as ReadonlyArray<[string, Ways, typeof journaled]>)("many steps, each %s", (_, ways, layer) => {
  it.effect("do not begin where they are interrupted before, and are undone once at most", () =>
    Effect.gen(function* () {
      const { fibers, log, many } = yield* waiting(ways)
      const interrupt = Effect.sync(() => {
        for (const fiber of fibers) fiber.interruptUnsafe()
        return [...log.begun]
      })
      // A second attempt in an immediate that is set as the last of them begins, before that in which the others would.
      const inBetween = Effect.andThen(Effect.andThen(Deferred.await(many), turn), interrupt)
      const interrupting = yield* Effect.forkChild(ways.retries ? inBetween : interrupt, { startImmediately: true })
      yield* TestClock.adjust("1 second")
      const begun = yield* Fiber.join(interrupting)
      for (const exit of yield* Effect.forEach(fibers, Fiber.await)) assert.isTrue(Exit.hasInterrupts(exit))
      yield* TestClock.adjust("1 minute")
      assert.lengthOf(begun, MANY)
      assert.deepStrictEqual([log.begun, log.second], [begun, []])
      assert.lengthOf(new Set(log.undone), log.undone.length)
      assert.includeMembers(log.undone, perhaps(begun))
    }).pipe(Effect.provide(layer))
  )

  it.effect("are undone once, with what they wrote, where they are interrupted as they go on", () =>
    Effect.gen(function* () {
      const { allBegin, fibers, go, log } = yield* waiting(ways)
      yield* allBegin
      Deferred.doneUnsafe(go, Effect.void)
      for (const fiber of fibers) fiber.interruptUnsafe()
      const exits = yield* Effect.forEach(fibers, Fiber.await)
      const undone = exits.flatMap((exit, n) => (Exit.hasInterrupts(exit) ? [rows[n]] : []))
      assert.isAbove(undone.length, 0)
      assert.deepStrictEqual([sorted(log.first), sorted(log.undone)], [sorted(ids), undone.sort()])
    }).pipe(Effect.provide(layer))
  )

  it.effect("are undone once where they are interrupted while they run", () =>
    Effect.gen(function* () {
      const { allBegin, fibers, log } = yield* waiting(ways)
      yield* allBegin
      for (const fiber of fibers) fiber.interruptUnsafe()
      yield* Effect.forEach(fibers, Fiber.await)
      assert.deepStrictEqual([log.first, log.second, sorted(log.undone)], [[], [], perhaps(ids)])
    }).pipe(Effect.provide(layer))
  )

  it.effect("are undone once where a saga around them does not wait for them any more", () =>
    Effect.gen(function* () {
      const { allBegin, fibers, log } = yield* waiting({ ...ways, nested: true })
      yield* allBegin
      yield* TestClock.adjust("5 seconds")
      for (const fiber of fibers) assert.strictEqual(yield* Effect.flip(Fiber.join(fiber)), "too late")
      assert.deepStrictEqual([log.first, log.second, sorted(log.undone)], [[], [], perhaps(ids)])
    }).pipe(Effect.provide(layer))
  )
})

it.effect("a journal calls what was interrupted before it began neither done nor failed", () =>
  Effect.gen(function* () {
    const { fibers, gate, log } = yield* waiting({ pivoted: true })
    yield* turn
    Deferred.doneUnsafe(gate, Effect.void)
    for (const fiber of fibers) fiber.interruptUnsafe()
    yield* Effect.forEach(fibers, Fiber.await)
    assert.deepStrictEqual([log.begun.length, log.undone], [MANY, []])
    const journals = yield* (yield* SagaJournal).list()
    assert.lengthOf(journals, ids.length)
    const calls = journals.map(({ records }) => records.map(({ _tag }) => _tag).join())
    assert.deepStrictEqual(new Set(calls), new Set(["Started,Done,Started"]))
  }).pipe(Effect.provide(journaled))
)
