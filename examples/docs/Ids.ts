import { Effect, Layer, Schema } from "effect"
import { Ids, Saga, SagaMemory } from "effect-saga"

let last = 0
const counted = Layer.succeed(Ids, { next: Effect.sync(() => `id-${++last}`) })
const nothing = Saga.make("Nothing", {
  payload: Schema.String,
  resource: (id) => id,
  steps: [],
  run: () => Effect.void
})
const receipt = nothing.executeReceipt("1").pipe(Effect.provide([SagaMemory.layer, counted]))
console.log((await Effect.runPromise(receipt)).sagaId) // id-1
