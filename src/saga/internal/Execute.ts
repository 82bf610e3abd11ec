/** One execution, from the request to its receipt: the recorded result of an earlier one, or an admission and a run. */
import { Effect, Scope } from "effect"
import { IdempotencyError, RecordUnreadable } from "../../schema/IdempotencyError.ts"
import { SagaGuard } from "../../services/SagaGuard.ts"
import { type Restore, runAdmitted } from "./Admitted.ts"
import type { Receipt } from "./Ending.ts"
import { makeRequest, type Request, readRecord, type SagaDefinition } from "./Request.ts"
import type { Services } from "./Services.ts"
import { spanned } from "./Spans.ts"

export const execute = Effect.fnUntraced(function* (
  saga: SagaDefinition,
  payload: unknown,
  callersKey: string | undefined
): Effect.fn.Return<Receipt<unknown>, unknown, Services> {
  const request = yield* makeRequest(saga, payload, callersKey)
  const about = {
    saga: saga.name,
    sagaId: request.sagaId,
    resource: request.resources.length === 1 ? request.resources[0] : request.resources.join(",")
  }
  const whole = Effect.uninterruptibleMask((restore) =>
    Effect.scopedWith((scope) => enter(saga, payload, request, scope, restore))
  )
  const traced = spanned(whole, yield* Effect.context<never>(), `saga ${saga.name}`, () => about)
  return yield* Effect.annotateLogs(traced, about)
})

const enter: (
  saga: SagaDefinition,
  payload: unknown,
  request: Request,
  scope: Scope.Scope,
  restore: Restore
) => Effect.Effect<Receipt<unknown>, unknown, Services> = Effect.fnUntraced(
  function* (saga, payload, request, scope, restore) {
    const guard = yield* SagaGuard
    const admission = yield* restore(Scope.provide(guard.enter(request), scope))
    if (admission._tag === "Admitted") {
      return yield* runAdmitted({ saga, payload, request, admission, scope, restore, atHand: [saga] })
    }
    const record = readRecord(saga, admission.result)
    switch (record._tag) {
      case "Success":
        return { sagaId: record.sagaId, value: record.value, replayed: true, recorded: true, parked: [] }
      case "Failure":
        return yield* Effect.fail(record.error)
      case "Unreadable":
        if (!request.derived) {
          const reason = new RecordUnreadable({ key: request.key, problem: record.problem })
          return yield* new IdempotencyError({ reason })
        }
        // It speaks of a state, which is simply written again.
        yield* Effect.logWarning(`a recorded result cannot be read and counts as absent: ${record.problem}`)
        return yield* enter(saga, payload, { ...request, unreadable: admission.result }, scope, restore)
    }
  }
)
