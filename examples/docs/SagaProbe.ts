import { Effect, Schema } from "effect"
import { Saga, SagaMemory, SagaProbe, Step } from "effect-saga"

const seen: Array<string> = []
const put = Step.make("rows.put", {
  input: Schema.String,
  execute: () => Effect.void,
  compensate: () => Effect.void
})
const save = Saga.make("Save", {
  payload: Schema.String,
  resource: (id) => id,
  steps: [put],
  run: (id) => Effect.andThen(put(id), Effect.die("after it"))
})
const watched = Effect.provideService(Effect.exit(save.execute("1")), SagaProbe, ({ kind, step }, attempt) => {
  seen.push(`${kind} ${step}`)
  return attempt
})
await Effect.runPromise(Effect.provide(watched, SagaMemory.layer))
console.log(seen) // [ 'execute rows.put', 'compensate rows.put' ]
