/** Spans, made when somebody can see them: when a tracer has been provided. */
import { type Context, Effect, type Tracer } from "effect"
import { isTraced } from "../../services/Traced.ts"
import type { Definition, Erased } from "./Definition.ts"
import type { Root } from "./Frame.ts"

export const spanned = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  context: Context.Context<never>,
  name: string,
  attributes: () => Record<string, unknown>
): Effect.Effect<A, E, R | Exclude<R, Tracer.ParentSpan>> =>
  isTraced(context) ? Effect.withSpan(effect, name, { captureStackTrace: false, attributes: attributes() }) : effect

export const spannedCall = (
  effect: Erased,
  { context }: { readonly context: Context.Context<never> },
  root: Root,
  kind: "step" | "saga" | "compensation",
  { definition, number }: { readonly definition: Definition; readonly number: number }
): Erased =>
  spanned(effect, context, `${kind} ${definition.name}`, () => ({
    saga: root.saga,
    sagaId: root.sagaId,
    step: definition.name,
    call: number
  }))
