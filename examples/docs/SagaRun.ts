import { Effect, Schema } from "effect"
import { Saga, SagaMemory, Step } from "effect-saga"

// A table whose rows refuse a fence below the one that wrote them.
const floors = new Map<string, number>()
const put = Step.make("rows.put", {
  input: Schema.String,
  error: Schema.Literal("refused"),
  execute: Effect.fnUntraced(function* (id) {
    const { fence } = yield* Step.SagaRun
    if (fence < (floors.get(id) ?? 0)) return yield* Effect.fail("refused" as const)
    floors.set(id, fence)
  }),
  compensate: () => Effect.void
})
const save = Saga.make("Save", {
  payload: Schema.String,
  error: Schema.Literal("refused"),
  resource: (id) => id,
  steps: [put],
  run: (id) => put(id)
})
await Effect.runPromise(Effect.provide(save.execute("1"), SagaMemory.layer))
console.log((floors.get("1") ?? 0) > 0) // true
