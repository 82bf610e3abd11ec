import { Effect, Schema } from "effect"
import { Saga, SagaMemory, Step } from "effect-saga"

const rows = new Map<string, string>()
const put = Step.make("rows.put", {
  input: Schema.Struct({ id: Schema.String, text: Schema.String }),
  execute: ({ id, text }) => Effect.sync(() => void rows.set(id, text)),
  compensate: ({ id }) => Effect.sync(() => void rows.delete(id))
})
const save = Saga.make("Save", {
  payload: put.input,
  success: Schema.Int,
  resource: ({ id }) => id,
  steps: [put],
  run: (row) => Effect.map(put(row), () => rows.size)
})

const twice = Effect.all([save.executeReceipt({ id: "1", text: "a" }), save.executeReceipt({ id: "1", text: "a" })])
const receipts = await Effect.runPromise(Effect.provide(twice, SagaMemory.layer))
console.log(receipts.map(({ replayed, value }) => [value, replayed])) // [ [ 1, false ], [ 1, true ] ]
