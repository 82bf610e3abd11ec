import { Effect } from "effect"
import { DistributedLock, SagaMemory } from "effect-saga"

const alone = Effect.flatMap(DistributedLock, (lock) =>
  lock.withLock("document 1", "document 2")((lease) => Effect.succeed(lease.resources))
)
console.log(await Effect.runPromise(Effect.provide(alone, SagaMemory.layer))) // [ 'document 1', 'document 2' ]
