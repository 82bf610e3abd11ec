/**
 * A step is one call to one store: an action and how it is undone, with schemas for what goes in and comes out, so that
 * another process can undo or finish it later.
 *
 * **Details**
 *
 * One attempt is, outside in: retry, circuit breaker, timeout, `execute`. The compensation is registered before
 * `execute` and runs unless every attempt proved the store untouched.
 *
 * **Gotchas**
 *
 * - A step can only be called inside the `run` of a saga that lists it; anything else does not compile.
 * - An effect that timed out may still be applied later. A store keeps it out by refusing fences below its floor;
 *   where it cannot, say `fenced: false` and a `verify` dead letter has the undo looked at again.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Option, Schema } from "effect"
 * import { Saga, SagaMemory, Step } from "effect-saga"
 *
 * const rows = new Map([["1", "before"]])
 * const put = Step.make("rows.put", {
 *   input: Schema.String,
 *   before: Schema.Option(Schema.String),
 *   prepare: () => Effect.sync(() => Option.fromUndefinedOr(rows.get("1"))),
 *   execute: (text) => Effect.sync(() => void rows.set("1", text)),
 *   compensate: (_, { before }) => Effect.sync(() => Option.map(before, (text) => rows.set("1", text)))
 * })
 * const refuse = Step.make("refuse", {
 *   input: Schema.String,
 *   error: Schema.Literal("refused"),
 *   isTransient: () => false,
 *   execute: () => Effect.fail("refused" as const),
 *   compensate: () => Effect.void
 * })
 * const save = Saga.make("Save", {
 *   payload: Schema.String,
 *   error: Schema.Literal("refused"),
 *   resource: () => "1",
 *   steps: [put, refuse],
 *   run: (text) => Effect.andThen(put(text), refuse(text))
 * })
 *
 * const error = await Effect.runPromise(Effect.flip(save.execute("after")).pipe(Effect.provide(SagaMemory.layer)))
 * console.log(error, rows.get("1")) // refused before
 * ```
 */
import { type Cause, Duration, type Effect, type Option, type Schedule, Schema } from "effect"
import type { CircuitBreaker } from "effect/persistence"
import type { StepTimeout } from "../schema/SagaError.ts"
import type { SagaRun } from "../services/SagaRun.ts"
import { type Definition, define, erase, typed } from "./internal/Definition.ts"
import { callStep } from "./internal/Running.ts"

export { SagaRun } from "../services/SagaRun.ts"

/** How a step fails a saga beside its own error. */
export type StepFailure = StepTimeout | CircuitBreaker.CircuitBreakerError

/** Permission to call the step `Name`: only a saga that lists the step discharges it. */
export interface Listed<out Name extends string> {
  readonly "~effect-saga/Listed": Name
}

export interface Step<
  Name extends string,
  Input extends Schema.Constraint,
  Output extends Schema.Constraint,
  Error extends Schema.Constraint,
  R
> {
  (input: Input["Type"]): Effect.Effect<Output["Type"], Error["Type"] | StepFailure, R | Listed<Name>>
  readonly stepName: Name
  readonly input: Input
  readonly output: Output
  readonly error: Error
}

/** Any step, whatever its types. */
export interface Any {
  readonly stepName: string
  readonly input: Schema.Constraint
  readonly output: Schema.Constraint
  readonly error: Schema.Constraint
}

/** The services a step needs. */
export type Services<S> = S extends Step<infer _Name, infer _Input, infer _Output, infer _Error, infer R> ? R : never

interface Common<Input extends Schema.Constraint, Error extends Schema.Constraint> {
  readonly input: Input
  readonly error?: Error
  /** The breaker and metrics label, such as "postgres". */
  readonly dependency?: string
  /** Decides what is retried and what the breaker counts; by default every typed error. Timeouts always count. */
  readonly isTransient?: (error: Error["Type"]) => boolean
  /** After 1, 2 and 4 seconds unless said. It sees timeouts and half-open rejections too. */
  readonly retry?: Schedule.Schedule<unknown, Error["Type"] | StepFailure>
  /** Of one attempt; 10 seconds unless said. */
  readonly timeout?: Duration.Input
}

const always = () => true
const never = () => false

const common = (
  name: string,
  options: {
    readonly input: Schema.Constraint
    readonly dependency?: string
    readonly isTransient?: unknown
    readonly retry?: unknown
    readonly timeout?: Duration.Input
  }
) => {
  const timeout = options.timeout === undefined ? undefined : Duration.fromInputUnsafe(options.timeout)
  return {
    name,
    input: options.input,
    dependency: options.dependency,
    isTransient: options.isTransient === undefined ? always : erase<(error: unknown) => boolean>(options.isTransient),
    retry: erase<Schedule.Schedule<unknown> | undefined>(options.retry),
    timeout,
    timeoutMillis: timeout && Duration.toMillis(timeout)
  }
}

/** The callable value of a step; used by `Saga.asStep` too. */
export const fromDefinition = <
  const Name extends string,
  Input extends Schema.Constraint,
  Output extends Schema.Constraint,
  Error extends Schema.Constraint,
  R
>(
  parts: { readonly name: Name; readonly input: Input; readonly output: Output; readonly error: Error },
  definition: Definition
): Step<Name, Input, Output, Error, R> =>
  define(
    Object.assign(
      (input: Input["Type"]): Effect.Effect<Output["Type"], Error["Type"] | StepFailure, R | Listed<Name>> =>
        typed(callStep(definition, input)),
      { stepName: parts.name, input: parts.input, output: parts.output, error: parts.error }
    ),
    definition
  )

/**
 * A step that can be undone.
 *
 * `prepare` reads what `execute` will replace, once and before the first attempt. `execute` and `compensate` write with
 * the fence, saga id and call of `SagaRun`. `compensate` must leave things right whether or not `execute` was applied.
 */
export const make = <
  const Name extends string,
  Input extends Schema.Constraint,
  R,
  Before extends Schema.Constraint = Schema.Void,
  Output extends Schema.Constraint = Schema.Void,
  Error extends Schema.Constraint = Schema.Never,
  R2 = never,
  R3 = never
>(
  name: Name,
  options: Common<Input, Error> & {
    readonly before?: Before
    readonly output?: Output
    /** Reads what `execute` will replace: once, before the first attempt; kept for `compensate` whatever happens. */
    readonly prepare?: (input: Input["Type"]) => Effect.Effect<Before["Type"], Error["Type"], R3>
    readonly execute: (input: Input["Type"], before: Before["Type"]) => Effect.Effect<Output["Type"], Error["Type"], R>
    /** Puts back what was there. `output` is `none` when it is not known whether `execute` was applied. */
    readonly compensate: (
      input: Input["Type"],
      done: {
        readonly before: Before["Type"]
        readonly output: Option.Option<Output["Type"]>
        readonly cause: Cause.Cause<unknown>
      }
    ) => Effect.Effect<void, Error["Type"], R2>
    /** Errors that prove the store was not touched; if every attempt proved it, nothing is undone for this call. */
    readonly notApplied?: (error: Error["Type"]) => boolean
    /** False: the store cannot refuse a write that lands after its undo; see `verify` dead letters. True unless said. */
    readonly fenced?: boolean
    /** What undoing does, in one word; a dead letter's `operation` is `rollback_` and this. "undo" unless said. */
    readonly rollback?: string
  }
): Step<Name, Input, Output, Error, Exclude<R | R2 | R3, SagaRun>> => {
  const before = erase<Before>(options.before ?? Schema.Void)
  const output = erase<Output>(options.output ?? Schema.Void)
  const error = erase<Error>(options.error ?? Schema.Never)
  return fromDefinition(
    { name, input: options.input, output, error },
    {
      _tag: "Undoable",
      ...common(name, options),
      before,
      output,
      error,
      prepare: erase(options.prepare),
      execute: erase(options.execute),
      compensate: erase(options.compensate),
      notApplied: options.notApplied === undefined ? never : erase(options.notApplied),
      fenced: options.fenced ?? true,
      rollback: options.rollback ?? "undo"
    }
  )
}

/**
 * A step after the point of no return: never undone, retried, then parked as a dead letter; so it yields nothing.
 *
 * Its first attempt starts when no undoable call runs any more. It writes with its own saga's fence, also when redriven
 * later; a store that refuses it because of a higher floor has something newer, and that is fine.
 */
export const retriable = <
  const Name extends string,
  Input extends Schema.Constraint,
  R,
  Error extends Schema.Constraint = Schema.Never
>(
  name: Name,
  options: Common<Input, Error> & {
    readonly execute: (input: Input["Type"]) => Effect.Effect<void, Error["Type"], R>
  }
): Step<Name, Input, Schema.Void, Schema.Never, Exclude<R, SagaRun>> =>
  fromDefinition(
    { name, input: options.input, output: Schema.Void, error: Schema.Never },
    {
      _tag: "Retriable",
      ...common(name, options),
      execute: erase(options.execute)
    }
  )
