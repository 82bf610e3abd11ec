/** One execution, from the request to its receipt: the recorded result of an earlier one, or an admission and a run. */
import { Context, Effect, References, Scope } from "effect"
import { IdempotencyError, RecordUnreadable } from "../../schema/IdempotencyError.ts"
import { Ids } from "../../services/Ids.ts"
import { SagaGuard } from "../../services/SagaGuard.ts"
import { type Entering, runAdmitted } from "./Admitted.ts"
import type { Receipt } from "./Ending.ts"
import { makeRequest, type Request, readRecord, type SagaDefinition } from "./Request.ts"
import type { Services } from "./Services.ts"
import { spanned, spanOf } from "./Spans.ts"

/** `as`: what of its receipt is asked for. */
export const execute = <A>(
  saga: SagaDefinition,
  payload: unknown,
  callersKey: string | undefined,
  as: (receipt: Receipt<unknown>) => A
): Effect.Effect<A, unknown, Services> =>
  Effect.contextWith((outer: Context.Context<Services>) => {
    const requestOf = makeRequest(saga, payload, callersKey, outer)
    return typeof requestOf === "function"
      ? Effect.flatMap(Context.get(outer, Ids).next, (sagaId) => requested(saga, payload, requestOf(sagaId), outer, as))
      : Effect.fail(requestOf)
  })

/** Many may wait in here at once: what is not needed before the admission is made after it. */
const requested = <A>(
  saga: SagaDefinition,
  payload: unknown,
  request: Request,
  outer: Context.Context<Services>,
  as: (receipt: Receipt<unknown>) => A
): Effect.Effect<A, unknown, Services> => {
  const about = aboutOf(request)
  const context = annotated(outer, about)
  const scope = Scope.makeUnsafe()
  const whole = Effect.onExit(
    enter({ saga, payload, request, context, scope, as }),
    (exit) => Scope.closeUnsafe(scope, exit) ?? Effect.void
  )
  const within = Context.add(context, Scope.Scope, scope)
  return Effect.updateContext(
    spanned(whole, outer, `saga ${saga.name}`, () => about),
    (): Context.Context<Services | Scope.Scope> => within
  )
}

interface About extends Readonly<Record<string, unknown>> {
  readonly saga: string
  readonly sagaId: string
  readonly resource: string
}

const aboutOf = ({ resources, saga, sagaId }: Request): About => ({ saga, sagaId, resource: resources.join(",") })

const annotated = (outer: Context.Context<Services>, about: About): Context.Context<Services> => {
  const before = Context.get(outer, References.CurrentLogAnnotations)
  const annotations = Object.keys(before).length === 0 ? about : { ...before, ...about }
  return Context.add(outer, References.CurrentLogAnnotations, annotations)
}

/** The scope is the admission's alone: the saga and its steps have that of whoever executes it, if any. */
interface Asking<A> extends Omit<Entering, "restore"> {
  readonly as: (receipt: Receipt<unknown>) => A
}

/** Whoever is interrupted before it runs has its admission taken back, with the scope. */
const enter = <A>(asking: Asking<A>): Effect.Effect<A, unknown, Services | Scope.Scope> =>
  Effect.flatMap(Context.get(asking.context, SagaGuard).enter(asking.request), (admission) => {
    if (admission._tag === "Replayed") return replay(asking, admission.result)
    // What `run` does to its payload does not change what was asked for.
    void asking.request.fingerprint
    return Effect.uninterruptibleMask((restore) =>
      Effect.contextWith((inner: Context.Context<Services>) => {
        const context = spanOf(inner, asking.context)
        const run = Effect.map(runAdmitted({ ...asking, context, restore, admission }), asking.as)
        return Effect.updateContext(run, () => context)
      })
    )
  })

const replay = <A>(asking: Asking<A>, result: string): Effect.Effect<A, unknown, Services | Scope.Scope> => {
  const { request, saga } = asking
  const record = readRecord(saga, result)
  switch (record._tag) {
    case "Success":
      return Effect.succeed(
        asking.as({ sagaId: record.sagaId, value: record.value, replayed: true, recorded: true, parked: [] })
      )
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
        Effect.suspend(() => enter({ ...asking, request: request.beside(result) }))
      )
  }
}
