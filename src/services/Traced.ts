/** Whether somebody can see spans: a tracer has been provided. */
import { Context, References, Tracer } from "effect"

/** By its key alone: the reference has a default, whose spans nobody sees. */
const Provided = Context.Service<Tracer.Tracer>(Tracer.TracerKey)

export const isTraced = (context: Context.Context<never>): boolean =>
  Context.getOrUndefined(context, Provided) !== undefined

/** Without the spans that nobody would see, which the clients of stores make for each question. */
export const untracedUnlessSeen = <R>(context: Context.Context<R>): Context.Context<R> =>
  isTraced(context) ? context : Context.add(context, References.TracerEnabled, false)
