import { Effect } from "effect"
import { SagaGuard, SagaMemory } from "effect-saga"

const enter = (sagaId: string) =>
  Effect.gen(function* () {
    const request = { saga: "Save", sagaId, key: "k", derived: false, fingerprint: "f", resources: ["1"] }
    const admission = yield* (yield* SagaGuard).enter(request)
    if (admission._tag === "Admitted") yield* admission.commit({ _tag: "Result", text: "saved" })
    return admission._tag
  })
const two = Effect.all([Effect.scoped(enter("first")), Effect.scoped(enter("second"))])
console.log(await Effect.runPromise(Effect.provide(two, SagaMemory.layer))) // [ 'Admitted', 'Replayed' ]
