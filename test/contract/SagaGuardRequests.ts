/** What the contract of the guard asks of it. */
import { Effect } from "effect"
import { type Ending, type IdempotencyRequest, SagaGuard } from "effect-saga"
import { fresh } from "./IdempotencyRequests.ts"

export { derived as request, fresh } from "./IdempotencyRequests.ts"

export const result = (text: string): Ending => ({ _tag: "Result", text })

/** Enters and ends at once: the recorded result, or "ran". */
export const serve = (asked: IdempotencyRequest, ending: Ending) =>
  Effect.scoped(
    Effect.gen(function* () {
      const admission = yield* (yield* SagaGuard).enter({ ...asked, sagaId: fresh("saga") })
      if (admission._tag === "Replayed") return admission.result
      yield* admission.commit(ending)
      return "ran"
    })
  )
