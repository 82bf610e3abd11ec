import { Effect, Layer, Schema } from "effect"
import { IoRedis, Saga, SagaLive } from "effect-saga"
import * as PgliteClient from "effect-saga/pglite"

const greet = Saga.make("Greet", {
  payload: Schema.String,
  success: Schema.String,
  resource: (name) => `greeting of ${name}`,
  steps: [],
  run: (name) => Effect.succeed(`hello ${name}`)
})
// REDIS_URL says which Redis. Any SqlClient will do, such as PostgresClient.layerConfig.
const live = SagaLive.layerWith({ journal: "sql", lease: "10 seconds" }).pipe(
  Layer.provide([IoRedis.layerConfig, PgliteClient.layer])
)
console.log(await Effect.runPromise(Effect.provide(greet.execute("you"), live))) // hello you
