import { Effect } from "effect"
import { CircuitBreakers, SagaMemory } from "effect-saga"

const asked = Effect.gen(function* () {
  const protect = (yield* CircuitBreakers).protect("redis")
  for (let i = 0; i < 3; i++) yield* Effect.flip(protect(Effect.fail("down")))
  return yield* Effect.flip(protect(Effect.die("it is not asked any more")))
})
const error = await Effect.runPromise(Effect.provide(asked, SagaMemory.layer))
console.log(error.reason._tag) // CircuitOpen
