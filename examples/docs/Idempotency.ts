import { Effect } from "effect"
import { DistributedLock, Idempotency, SagaMemory } from "effect-saga"

const request = { saga: "Save", sagaId: "a", key: "k", derived: true, fingerprint: "f", resources: ["1"] }
const recorded = Effect.gen(function* () {
  const store = yield* Idempotency
  const lease = yield* (yield* DistributedLock).acquire("1")
  yield* store.begin(request, lease)
  yield* store.end(request, lease, { _tag: "Result", text: "saved" })
  const before = yield* store.lookup(request)
  // Another saga is admitted to the resource: what was derived from an older state is void.
  yield* store.begin({ ...request, sagaId: "b", key: "other" }, { ...lease, fence: yield* lease.advance() })
  return [before, yield* store.lookup(request)]
})
const results = await Effect.runPromise(Effect.scoped(recorded).pipe(Effect.provide(SagaMemory.layer)))
console.log(results) // [ 'saved', undefined ]
