import { Effect, Layer } from "effect"
import { DeadLetterWorker, Saga, SagaRecovery } from "effect-saga"
import { ingest, Sagas, StoresLive } from "./usage.ts"

// ---- in the background of any process --------------------------------------
export const Workers = Layer.mergeAll(
  DeadLetterWorker.layer({ sagas: [ingest] }),
  SagaRecovery.layer({ sagas: [ingest] })
).pipe(Layer.provide([Sagas, StoresLive]))

// ---- by hand ---------------------------------------------------------------
export const again = Effect.gen(function* () {
  const { failed, redriven } = yield* Saga.redrive([ingest]).all({ database: "neo4j" })
  yield* Effect.logInfo(`${redriven} redriven, ${failed} still waiting`)
}).pipe(Effect.provide([Sagas, StoresLive]))
