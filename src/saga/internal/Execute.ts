/** One execution, from the request to its receipt: the recorded result of an earlier one, or an admission and a run. */
import { Context, Effect, Fiber, References, Scope } from "effect"
import { IdempotencyError, RecordUnreadable } from "../../schema/IdempotencyError.ts"
import { type Admit, closed, type Entered } from "../../services/SagaGuard.ts"
import { type Entering, runAdmitted } from "./Admitted.ts"
import type { Receipt } from "./Ending.ts"
import { made } from "./Made.ts"
import { Keyed, type Request, readRecord, type SagaDefinition, Wanted, wantedOf } from "./Request.ts"
import type { Services } from "./Services.ts"
import { spanned } from "./Spans.ts"
import { type Surroundings, surroundingsOf } from "./Surroundings.ts"

/** `as`: what of its receipt is asked for. */
export const execute = <A>(
  saga: SagaDefinition,
  payload: unknown,
  callersKey: string | undefined,
  as: (receipt: Receipt<unknown>) => A
): Effect.Effect<A, unknown, Services> =>
  Effect.contextWith((outer: Context.Context<Services>) => {
    const surroundings = surroundingsOf(outer)
    const { guard, ids, isTraced, journal } = surroundings
    const anew = (wanted: Wanted) => {
      const by = (sagaId: string) => requested({ saga, payload, request: wanted.by(sagaId), surroundings, as }, outer)
      const { draw, next } = ids
      return draw === undefined ? Effect.flatMap(next, by) : by(draw())
    }
    const traced = (whole: Effect.Effect<A, unknown, Services>, { resources }: Wanted | Keyed) =>
      spanned(whole, outer, `saga ${saga.name}`, () => ({ saga: saga.name, resource: resources.join(",") }))
    const keyed = callersKey === undefined ? undefined : new Keyed(saga, payload, callersKey, journal)
    const recalled = keyed && guard.recall?.(keyed, outer, () => void keyed.fingerprint)
    if (keyed === undefined || recalled === undefined) {
      const wanted = keyed?.wanted ?? wantedOf(saga, payload, undefined, journal)
      if (!(wanted instanceof Wanted)) return Effect.fail(wanted)
      return isTraced ? traced(anew(wanted), wanted) : anew(wanted)
    }
    const replaying = Effect.matchEffect(recalled, {
      onFailure: (error) => {
        const { fingerprint, wanted } = keyed
        // A payload that is none is told of, whatever is recorded.
        if (!(wanted instanceof Wanted)) return Effect.fail(wanted)
        // What is recorded may be the payload without the members that its schema leaves out.
        return wanted.fingerprint === fingerprint ? Effect.fail(error) : anew(wanted)
      },
      onSuccess: (recorded) => {
        if (recorded !== undefined) return replay(saga, keyed, recorded.result, as)
        const { wanted } = keyed
        return wanted instanceof Wanted ? anew(wanted) : Effect.fail(wanted)
      }
    })
    return isTraced ? traced(replaying, keyed) : replaying
  })

/** Many may wait in here at once: what is not needed before the admission is made after it. */
const requested = <A>(
  asked: Omit<Asking<A>, "context">,
  outer: Context.Context<Services>
): Effect.Effect<A, unknown, Services> => {
  const { as, payload, request, saga, surroundings } = asked
  const about = aboutOf(request)
  const within = (current: Context.Context<Services>): Effect.Effect<A, unknown, Services> => {
    const context = annotated(current, surroundings.annotations, about)
    const asking = { saga, payload, request, context, surroundings, as }
    const { admit } = surroundings.guard
    return admit === undefined ? enterScoped(asking) : enter(asking, admit)
  }
  // The context has the saga's span by then, which was made before the id was drawn.
  return surroundings.isTraced
    ? Effect.andThen(Effect.annotateCurrentSpan("sagaId", request.sagaId), Effect.contextWith(within))
    : within(outer)
}

interface About extends Readonly<Record<string, unknown>> {
  readonly saga: string
  readonly sagaId: string
  readonly resource: string
}

const aboutOf = ({ resources, saga, sagaId }: Request): About => {
  const [first] = resources
  return { saga, sagaId, resource: first === undefined || resources.length > 1 ? resources.join(",") : first }
}

const annotated = (
  outer: Context.Context<Services>,
  before: Surroundings["annotations"],
  about: About
): Context.Context<Services> => {
  const annotations = Object.keys(before).length === 0 ? about : { ...before, ...about }
  return Context.add(outer, References.CurrentLogAnnotations, annotations)
}

type Asking<A> = Omit<Entering<A>, "restore" | "scope">

/** Whoever is interrupted before it is admitted has its admission taken back; afterwards the admission is closed. */
const enter = <A>(asking: Asking<A>, admit: Admit): Effect.Effect<A, unknown, Services> =>
  Effect.uninterruptibleMask((restore) => {
    // The saga and its steps have the scope of whoever executes it, if any. Mostly this one is not needed.
    let own: Scope.Closeable | undefined
    const scope = () => {
      own ??= Scope.makeUnsafe()
      return own
    }
    let admission: Entered | undefined
    const whole = Effect.flatMap(admit(asking.request, restore, asking.context), (answer) => {
      admission = answer
      return answer._tag === "Replayed"
        ? replayed(asking, answer.result, (request) => restore(enter({ ...asking, request }, admit)))
        : runAdmitted({ ...asking, scope, restore, admission: answer })
    })
    const leave = inContext(asking.context)
    return Effect.onExitPrimitive(whole, (exit) => {
      // A guard's own function: what it throws is a defect of the end, and keeps nothing else from being done in it.
      const close = made(() => closed(admission, exit))
      if (own === undefined && close === undefined) return leave()
      const scope = own
      const closing = Effect.suspend(() => (scope && Scope.closeUnsafe(scope, exit)) ?? Effect.void)
      return Effect.ensuring(Effect.ensuring(closing, close ?? Effect.void), Effect.sync(leave))
    })
  })

/** `Effect.updateContext` for whoever has an end of his own already: the fiber is in this context until it is left. */
const inContext = (context: Context.Context<never>): (() => undefined) => {
  const fiber = Fiber.getCurrent()
  const before = fiber?.context
  fiber?.setContext(context)
  return () => {
    if (before !== undefined) fiber?.setContext(before)
    return undefined
  }
}

/** Where an admission is a scope's. Many may wait in here, who need keep no more than that scope. */
const enterScoped = <A>(asking: Asking<A>): Effect.Effect<A, unknown, Services> => {
  const scope = Scope.makeUnsafe()
  const whole = Effect.onExit(
    inScope(asking, () => scope),
    (exit) => Scope.closeUnsafe(scope, exit) ?? Effect.void
  )
  const scoped = Context.add(asking.context, Scope.Scope, scope)
  return Effect.updateContext(whole, (): Context.Context<Services | Scope.Scope> => scoped)
}

const inScope = <A>(asking: Asking<A>, scope: () => Scope.Scope): Effect.Effect<A, unknown, Services | Scope.Scope> =>
  Effect.flatMap(asking.surroundings.guard.enter(asking.request), (admission) =>
    admission._tag === "Replayed"
      ? replayed(asking, admission.result, (request) => inScope({ ...asking, request }, scope))
      : Effect.uninterruptibleMask((restore) =>
          Effect.updateContext(runAdmitted({ ...asking, scope, restore, admission }), () => asking.context)
        )
  )

const replayed = <A, R>(
  { as, request, saga }: Asking<A>,
  result: string,
  anew: (request: Request) => Effect.Effect<A, unknown, R>
): Effect.Effect<A, unknown, R> => replay(saga, request, result, as, () => anew(request.beside(result)))

/** `anew`: a derived key speaks of a state, which is simply written again when its record cannot be read. */
const replay = <A, R = never>(
  saga: SagaDefinition,
  { derived, key }: Pick<Wanted, "derived" | "key">,
  result: string,
  as: (receipt: Receipt<unknown>) => A,
  anew?: () => Effect.Effect<A, unknown, R>
): Effect.Effect<A, unknown, R> => {
  const record = readRecord(saga, result)
  switch (record._tag) {
    case "Success":
      return Effect.succeed(
        as({ sagaId: record.sagaId, value: record.value, replayed: true, recorded: true, parked: [] })
      )
    case "Failure":
      return Effect.fail(record.error)
    case "Unreadable":
      if (!derived || anew === undefined) {
        return Effect.fail(new IdempotencyError({ reason: new RecordUnreadable({ key, problem: record.problem }) }))
      }
      return Effect.andThen(
        Effect.logWarning(`a recorded result cannot be read and counts as absent: ${record.problem}`),
        Effect.suspend(anew)
      )
  }
}
