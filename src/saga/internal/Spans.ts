/** Spans, made when somebody can see them: when a tracer has been provided. */
import { Context, Effect, Tracer } from "effect"

/** By its key alone: the reference has a default, whose spans nobody sees. */
const Provided = Context.Service<Tracer.Tracer>(Tracer.TracerKey)

export const spanned = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  context: Context.Context<never>,
  name: string,
  attributes: () => Record<string, unknown>
): Effect.Effect<A, E, R | Exclude<R, Tracer.ParentSpan>> =>
  Context.getOrUndefined(context, Provided) === undefined
    ? effect
    : Effect.withSpan(effect, name, { captureStackTrace: false, attributes: attributes() })
