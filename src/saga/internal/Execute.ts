/** One execution, from the request to its receipt: the recorded result of an earlier one, or an admission and a run. */
import { Context, Effect, References, Scope } from "effect"
import { IdempotencyError, RecordUnreadable } from "../../schema/IdempotencyError.ts"
import { SagaGuard } from "../../services/SagaGuard.ts"
import { type Entering, runAdmitted } from "./Admitted.ts"
import type { Receipt } from "./Ending.ts"
import { makeRequest, type Request, readRecord, type SagaDefinition } from "./Request.ts"
import type { Services } from "./Services.ts"
import { spanned, spanOf } from "./Spans.ts"

export const execute = (
  saga: SagaDefinition,
  payload: unknown,
  callersKey: string | undefined
): Effect.Effect<Receipt<unknown>, unknown, Services> =>
  Effect.withFiber(({ context }) =>
    Effect.flatMap(makeRequest(saga, payload, callersKey, context), (request) => requested(saga, payload, request))
  )

/** Many may wait in here at once: what is not needed before the admission is made after it. */
const requested = (
  saga: SagaDefinition,
  payload: unknown,
  request: Request
): Effect.Effect<Receipt<unknown>, unknown, Services> =>
  Effect.contextWith((outer: Context.Context<Services>) => {
    const about = aboutOf(request)
    const annotations = { ...Context.get(outer, References.CurrentLogAnnotations), ...about }
    const context = Context.add(outer, References.CurrentLogAnnotations, annotations)
    const scope = Scope.makeUnsafe()
    const whole = Effect.onExit(enter({ saga, payload, request, context, scope }), (exit) => Scope.close(scope, exit))
    const within = Context.add(context, Scope.Scope, scope)
    return Effect.updateContext(
      spanned(whole, outer, `saga ${saga.name}`, () => about),
      (): Context.Context<Services | Scope.Scope> => within
    )
  })

const aboutOf = ({ resources, saga, sagaId }: Request) => ({
  saga,
  sagaId,
  resource: resources.length === 1 ? resources[0] : resources.join(",")
})

type Asking = Omit<Entering, "restore">

/** Whoever is interrupted before it runs has its admission taken back, with the scope. */
const enter = (asking: Asking): Effect.Effect<Receipt<unknown>, unknown, Services | Scope.Scope> =>
  Effect.flatMap(Context.get(asking.context, SagaGuard).enter(asking.request), (admission) => {
    if (admission._tag === "Replayed") return replay(asking, admission.result)
    return Effect.uninterruptibleMask((restore) =>
      Effect.contextWith((inner: Context.Context<Services>) => {
        // The scope is the admission's alone: the saga and its steps have that of whoever executes it, if any.
        const context = spanOf(inner, asking.context)
        return Effect.updateContext(runAdmitted({ ...asking, context, restore, admission }), () => context)
      })
    )
  })

const replay = (asking: Asking, result: string): Effect.Effect<Receipt<unknown>, unknown, Services | Scope.Scope> => {
  const { request, saga } = asking
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
        Effect.suspend(() => enter({ ...asking, request: { ...request, unreadable: result } }))
      )
  }
}
