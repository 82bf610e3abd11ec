import { Effect, Layer, Logger, Schema } from "effect"
import { DeadLetterQueue, Saga, SagaMemory, Step } from "effect-saga"

const stuck = Step.make("rows.put", {
  input: Schema.String,
  error: Schema.Literal("down"),
  dependency: "postgres",
  rollback: "delete",
  execute: () => Effect.fail("down" as const),
  compensate: () => Effect.fail("down" as const)
})
const save = Saga.make("Save", {
  payload: Schema.String,
  error: Schema.Literal("down"),
  resource: (id) => id,
  steps: [stuck],
  run: (id) => stuck(id)
})
const letters = Effect.gen(function* () {
  yield* Effect.flip(save.execute("1"))
  return yield* (yield* DeadLetterQueue).list({ database: "postgres" })
})
const world = Layer.merge(SagaMemory.layerWith({ retries: false }), Logger.layer([]))
const [letter] = await Effect.runPromise(Effect.provide(letters, world))
console.log(letter?.operation, letter?.priority, letter?.resources) // rollback_delete high [ '1' ]
