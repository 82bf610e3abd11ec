/** Making a dead letter of what could not be undone or finished. */
import { Cause, DateTime, Duration, Effect, Exit, Option, Schema } from "effect"
import { CircuitBreakerError } from "effect/persistence/CircuitBreaker"
import type { DeadLetter } from "../../schema/DeadLetter.ts"
import type { StepDefinition } from "./Definition.ts"
import type { Root } from "./Frame.ts"

export interface Parked {
  readonly kind: DeadLetter["kind"]
  readonly path: string
  readonly step?: StepDefinition
  readonly call: number
  readonly input: unknown
  readonly inputSchema?: Schema.Constraint
  readonly before?: unknown
  readonly output?: Option.Option<unknown>
  readonly cause: Cause.Cause<unknown>
  /** What failed the saga, where that is another thing than `cause`. */
  readonly original?: Cause.Cause<unknown>
  readonly attempts?: number
  readonly after?: Duration.Duration
  readonly metadata?: Readonly<Record<string, unknown>>
}

/** The encoded form, or what is left of a value that its schema cannot encode: it must not be lost for that. */
export const encoded = (schema: Schema.Constraint | undefined, value: unknown): Effect.Effect<unknown> => {
  if (schema === undefined) return Effect.succeed(null)
  const exit = Schema.encodeUnknownExit(Schema.toCodecJson(plain(schema)))(value)
  if (Exit.isSuccess(exit)) return Effect.succeed(exit.value ?? null)
  return Effect.as(Effect.logError("a dead letter's payload does not fit its schema and is kept as text", exit.cause), {
    unencodable: String(value)
  })
}

/** Steps declare schemas whose codecs need no services; `Saga.make` says so in its types. */
const plain = (schema: Schema.Constraint) => schema as Schema.Codec<unknown, unknown>

const typeOf = (error: unknown): string => {
  if (typeof error !== "object" || error === null) return typeof error
  if ("_tag" in error && typeof error._tag === "string") return error._tag
  return error instanceof Error ? error.name : "object"
}

const operationOf = (parked: Parked): string => {
  if (parked.kind === "compensation" || parked.kind === "verify") {
    return `rollback_${parked.step?._tag === "Undoable" ? parked.step.rollback : "undo"}`
  }
  return parked.kind
}

/** When an open breaker lets the next call through. */
const breakerDelay = (error: unknown): Duration.Duration =>
  error instanceof CircuitBreakerError && error.reason._tag === "CircuitOpen" ? error.reason.retryAfter : Duration.zero

/** Adds the dead letter and yields its id. */
export const park = Effect.fnUntraced(function* (root: Root, parked: Parked): Effect.fn.Return<string> {
  const { step } = parked
  const error = Cause.squash(parked.cause)
  const now = yield* DateTime.now
  const undoable = step?._tag === "Undoable" ? step : undefined
  const output = parked.output ?? Option.none()
  return yield* root.deadLetters.add({
    kind: parked.kind,
    priority: "high",
    database: step?.dependency ?? "unknown",
    operation: operationOf(parked),
    saga: root.saga,
    sagaVersion: root.version,
    sagaId: root.sagaId,
    step: parked.path,
    call: parked.call,
    resources: root.resources,
    fence: root.fence,
    input: yield* encoded(step?.input ?? parked.inputSchema, parked.input),
    before: parked.before === undefined ? null : yield* encoded(undoable?.before, parked.before),
    output: Option.isNone(output) ? null : yield* encoded(undoable?.output, output.value),
    errorType: typeOf(error),
    errorMessage: error instanceof Error ? error.message : String(error),
    metadata: {
      cause: Cause.pretty(parked.cause),
      ...(parked.original === undefined ? {} : { original: Cause.pretty(parked.original) }),
      ...(parked.attempts === undefined ? {} : { attempts: parked.attempts }),
      outputKnown: Option.isSome(output),
      ...parked.metadata
    },
    dueAt: DateTime.addDuration(now, parked.after ?? breakerDelay(error))
  })
})
