/** Making a dead letter of what could not be undone or finished. */
import { Cause, DateTime, Duration, Effect, Option, type Schema } from "effect"
import { CircuitBreakerError } from "effect/persistence/CircuitBreaker"
import type { DeadLetter } from "../../schema/DeadLetter.ts"
import type { JournalRecord } from "../../schema/Journal.ts"
import type { OpenMark } from "../../services/Idempotency.ts"
import { encodeOrText } from "./Codec.ts"
import type { StepDefinition } from "./Definition.ts"
import type { Failure, Frame, Root } from "./Frame.ts"

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

const encoded = (schema: Schema.Constraint | undefined, value: unknown): unknown =>
  schema === undefined ? null : encodeOrText(schema, value)

export const typeOf = (error: unknown): string => {
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
    input: encoded(step?.input ?? parked.inputSchema, parked.input),
    before: parked.before === undefined ? null : encoded(undoable?.before, parked.before),
    output: Option.isNone(output) ? null : encoded(undoable?.output, output.value),
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

/** `run` failed past the point of no return: what it did stays, and the rest is for a redrive. */
export const parkForward = Effect.fnUntraced(function* (
  frame: Frame,
  payload: Schema.Constraint,
  input: unknown,
  records: ReadonlyArray<JournalRecord>,
  cause: Cause.Cause<unknown>
) {
  const deadLetterId = yield* park(frame.root, {
    kind: "forward",
    path: "",
    call: frame.root.nextCall,
    input,
    inputSchema: payload,
    cause,
    metadata: { records }
  })
  return { step: "", deadLetterId, cause } satisfies Failure
})

/** The owner of an open saga is gone and left no journal: what it did is not known, and somebody has to look. */
export const parkAbandoned = (root: Root, mark: OpenMark) =>
  park(
    { ...root, saga: mark.saga, sagaId: mark.sagaId, fence: mark.fence, resources: mark.resources },
    {
      kind: "abandoned",
      path: "",
      call: 0,
      input: null,
      cause: Cause.fail(new Error(`the process that ran ${mark.saga} ${mark.sagaId} ended before the saga did`))
    }
  )
