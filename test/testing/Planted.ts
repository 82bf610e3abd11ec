/** Sagas with a bug each, which the explorer has to find, and their stores. */
import { Context, Effect, Layer, Schema } from "effect"
import { Saga, Step } from "../../src/index.ts"
import { FlooredMap } from "../../src/ingest/memory/FlooredMap.ts"

/** A number that keeps its floor. */
export class Counter extends Context.Service<Counter, { readonly floored: FlooredMap<number>; plain: number }>()(
  "test/Counter"
) {
  static readonly layer = Layer.sync(Counter, () => {
    const floored = new FlooredMap<number>()
    floored.write("x", 0, { sagaId: "start", call: 0, fence: 0, resources: ["x"] })
    return { floored, plain: 0 }
  })
}

export const snapshot = Effect.map(Counter, ({ floored, plain }) => ({ floored: floored.get("x") ?? null, plain }))

const set = (value: number) =>
  Effect.gen(function* () {
    const { floored } = yield* Counter
    if (floored.write("x", value, yield* Step.SagaRun) !== undefined) yield* Effect.die(new Error("refused"))
  })

/** Fails or not by what surrounds it; nothing is wrong with it. */
const last = Step.make("last", {
  input: Schema.Int,
  before: Schema.Struct({
    value: Schema.UndefinedOr(Schema.Int),
    stamp: Schema.UndefinedOr(Schema.Struct({ sagaId: Schema.String, call: Schema.Int }))
  }),
  prepare: () => Effect.map(Counter, ({ floored }) => floored.image("x")),
  execute: set,
  compensate: (_, { before }) =>
    Effect.gen(function* () {
      const { floored } = yield* Counter
      floored.restore("x", before, yield* Step.SagaRun)
    })
})

const sagaOf = <const Name extends string>(
  name: Name,
  first: typeof undoneTwice | typeof undoneBackwards | typeof unfenced
) =>
  Saga.make(name, {
    payload: Schema.Int,
    resource: () => "x",
    steps: [first, last],
    run: Effect.fnUntraced(function* (value) {
      yield* first(value)
      yield* last(value)
    })
  })

/** Undoing subtracts, whether or not there is anything to subtract any more. */
const undoneTwice = Step.make("first", {
  input: Schema.Int,
  execute: () => Effect.map(Counter, (counter) => void counter.plain++),
  compensate: () => Effect.map(Counter, (counter) => void counter.plain--)
})

/** It writes two things, one over the other, and undoes the first before the second. */
const undoneBackwards = Step.make("first", {
  input: Schema.Int,
  before: Schema.Int,
  prepare: () => Effect.map(Counter, ({ plain }) => plain),
  execute: (value) =>
    Effect.map(Counter, (counter) => {
      counter.plain = -1
      counter.plain = value
    }),
  compensate: (_, { before }) =>
    Effect.map(Counter, (counter) => {
      counter.plain = before
      counter.plain = -1
    })
})

const put = (value: number) =>
  Effect.map(Counter, (counter) => {
    counter.plain = value
  })

/** Its store takes a write from whoever comes, however late. */
const unfenced = Step.make("first", {
  input: Schema.Int,
  before: Schema.Int,
  prepare: () => Effect.map(Counter, ({ plain }) => plain),
  execute: (value) => put(value),
  compensate: (_, { before }) => put(before)
})

export const planted = {
  "undo is not idempotent": sagaOf("UndoneTwice", undoneTwice),
  "undo is in the wrong order": sagaOf("UndoneBackwards", undoneBackwards),
  "a late write is not refused": sagaOf("Unfenced", unfenced)
}
