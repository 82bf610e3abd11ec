import { Effect, Schema } from "effect"
import { Saga, SagaMemory } from "effect-saga"

let runs = 0
const count = Saga.make("Count", {
  payload: Schema.String,
  resource: (id) => id,
  steps: [],
  run: () => Effect.sync(() => void runs++)
})
const twice = Effect.andThen(count.execute("1"), count.execute("1"))
await Effect.runPromise(Effect.provide(twice, SagaMemory.layer))
console.log(runs) // 1
await Effect.runPromise(Effect.provide(twice, SagaMemory.layerWith({ idempotency: false })))
console.log(runs) // 3
