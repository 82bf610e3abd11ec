import { Effect, Layer, References, Schedule, Schema } from "effect"
import { Saga, SagaMemory, SagaSettings, Step } from "effect-saga"

let attempts = 0
const put = Step.make("rows.put", {
  input: Schema.String,
  error: Schema.Literal("down"),
  execute: () => Effect.suspend(() => (++attempts < 6 ? Effect.fail("down" as const) : Effect.void)),
  compensate: () => Effect.void
})
const save = Saga.make("Save", {
  payload: Schema.String,
  error: Schema.Literal("down"),
  resource: (id) => id,
  steps: [put],
  run: (id) => put(id)
})
const eager = Layer.effect(
  SagaSettings,
  Effect.map(SagaSettings, (settings) => ({ ...settings, stepRetry: Schedule.spaced("1 millis") }))
)
const quiet = Effect.provideService(save.execute("1"), References.MinimumLogLevel, "Error")
await Effect.runPromise(Effect.provide(quiet, [SagaMemory.layer, eager]))
console.log(attempts) // 6
