/** One execution, from the request to its receipt: the recorded result of an earlier one, or an admission and a run. */
import { Context, Effect, References, Scope } from "effect"
import { IdempotencyError, RecordUnreadable } from "../../schema/IdempotencyError.ts"
import { SagaGuard } from "../../services/SagaGuard.ts"
import { type Entering, runAdmitted } from "./Admitted.ts"
import type { Receipt } from "./Ending.ts"
import { makeRequest, type Request, readRecord, type SagaDefinition } from "./Request.ts"
import type { Services } from "./Services.ts"
import { spanned } from "./Spans.ts"

export const execute = (
  saga: SagaDefinition,
  payload: unknown,
  callersKey: string | undefined
): Effect.Effect<Receipt<unknown>, unknown, Services> =>
  Effect.contextWith((outer: Context.Context<Services>) =>
    Effect.flatMap(makeRequest(saga, payload, callersKey, outer), (request) => {
      const about = aboutOf(request)
      const annotations = { ...Context.get(outer, References.CurrentLogAnnotations), ...about }
      const context = Context.add(outer, References.CurrentLogAnnotations, annotations)
      const whole = Effect.uninterruptibleMask((restore) =>
        Effect.scopedWith((scope) => enter({ saga, payload, request, context, scope, restore }))
      )
      return Effect.updateContext(
        spanned(whole, outer, `saga ${saga.name}`, () => about),
        () => context
      )
    })
  )

const aboutOf = ({ resources, saga, sagaId }: Request) => ({
  saga,
  sagaId,
  resource: resources.length === 1 ? resources[0] : resources.join(",")
})

const enter = (entering: Entering): Effect.Effect<Receipt<unknown>, unknown, Services> => {
  const { context, request, restore, scope } = entering
  const entered = Scope.provide(Context.get(context, SagaGuard).enter(request), scope)
  return Effect.flatMap(restore(entered), (admission) =>
    admission._tag === "Admitted" ? runAdmitted({ ...entering, admission }) : replay(entering, admission.result)
  )
}

const replay = (entering: Entering, result: string): Effect.Effect<Receipt<unknown>, unknown, Services> => {
  const { request, saga } = entering
  const record = readRecord(saga, result)
  switch (record._tag) {
    case "Success":
      return Effect.succeed({
        sagaId: record.sagaId,
        value: record.value,
        replayed: true,
        recorded: true,
        parked: []
      })
    case "Failure":
      return Effect.fail(record.error)
    case "Unreadable":
      if (!request.derived) {
        const reason = new RecordUnreadable({ key: request.key, problem: record.problem })
        return Effect.fail(new IdempotencyError({ reason }))
      }
      // It speaks of a state, which is simply written again.
      return Effect.andThen(
        Effect.logWarning(`a recorded result cannot be read and counts as absent: ${record.problem}`),
        Effect.suspend(() => enter({ ...entering, request: { ...request, unreadable: result } }))
      )
  }
}
