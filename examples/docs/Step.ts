import { Effect, Option, Schema } from "effect"
import { Saga, SagaMemory, Step } from "effect-saga"

const rows = new Map([["1", "before"]])
const put = Step.make("rows.put", {
  input: Schema.String,
  before: Schema.Option(Schema.String),
  prepare: () => Effect.sync(() => Option.fromUndefinedOr(rows.get("1"))),
  execute: (text) => Effect.sync(() => void rows.set("1", text)),
  compensate: (_, { before }) => Effect.sync(() => Option.map(before, (text) => rows.set("1", text)))
})
const refuse = Step.make("refuse", {
  input: Schema.String,
  error: Schema.Literal("refused"),
  isTransient: () => false,
  execute: () => Effect.fail("refused" as const),
  compensate: () => Effect.void
})
const save = Saga.make("Save", {
  payload: Schema.String,
  error: Schema.Literal("refused"),
  resource: () => "1",
  steps: [put, refuse],
  run: (text) => Effect.andThen(put(text), refuse(text))
})

const error = await Effect.runPromise(Effect.flip(save.execute("after")).pipe(Effect.provide(SagaMemory.layer)))
console.log(error, rows.get("1")) // refused before
