import { Effect, Schema } from "effect"
import { MemoryJournal, Saga, SagaMemory, Sagas } from "effect-saga"

const nothing = Saga.make("Nothing", {
  payload: Schema.String,
  resource: (id) => id,
  steps: [],
  run: () => Effect.void
})
const kept = Effect.gen(function* () {
  const { sagaId } = yield* nothing.executeReceipt("1")
  const journal = yield* Sagas.get(sagaId)
  return [journal?.status, journal?.outcome]
})
// SqlJournal and RedisJournal outlive the process.
const journals = await Effect.runPromise(Effect.provide(kept, [SagaMemory.layer, MemoryJournal.layer]))
console.log(journals) // [ 'finished', 'succeeded' ]
