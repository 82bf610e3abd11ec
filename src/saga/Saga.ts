/**
 * A saga is a typed Effect program over steps: all of them happen, or those that happened are undone, or a dead letter
 * explains what could not be.
 *
 * **Details**
 *
 * `execute` derives the idempotency key, returns the recorded result if there is one, else takes the lock on the
 * saga's resources, looks again, runs, and ends: success is stored by a compare on the saga's own fence; a failure of
 * any kind (typed, defect, interruption, lost lease) undoes the calls in reverse and then fails as `run` did.
 *
 * **Gotchas**
 *
 * - `run` may be started again by another process: it must do its work through steps, not beside them.
 * - A step whose error `run` handles itself is undone only if the saga fails later.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Saga, SagaMemory, Step } from "effect-saga"
 *
 * const rows = new Map<string, string>()
 * const put = Step.make("rows.put", {
 *   input: Schema.Struct({ id: Schema.String, text: Schema.String }),
 *   execute: ({ id, text }) => Effect.sync(() => void rows.set(id, text)),
 *   compensate: ({ id }) => Effect.sync(() => void rows.delete(id))
 * })
 * const save = Saga.make("Save", {
 *   payload: put.input,
 *   success: Schema.Int,
 *   resource: ({ id }) => id,
 *   steps: [put],
 *   run: (row) => Effect.map(put(row), () => rows.size)
 * })
 *
 * const twice = Effect.all([save.executeReceipt({ id: "1", text: "a" }), save.executeReceipt({ id: "1", text: "a" })])
 * const receipts = await Effect.runPromise(Effect.provide(twice, SagaMemory.layer))
 * console.log(receipts.map(({ replayed, value }) => [value, replayed])) // [ [ 1, false ], [ 1, true ] ]
 * ```
 */
import { Duration, type Effect, Schema } from "effect"
import type { DeadLetter, DeadLetterFilter } from "../schema/DeadLetter.ts"
import type { DeadLetterError } from "../schema/DeadLetterError.ts"
import type { IdempotencyError } from "../schema/IdempotencyError.ts"
import type { JournalError } from "../schema/JournalError.ts"
import type { LockError } from "../schema/LockError.ts"
import type { CompensationError, InvalidPayload, OutcomeUnknown, SagaTimeout } from "../schema/SagaError.ts"
import type { CircuitBreakers } from "../services/CircuitBreakers.ts"
import type { DeadLetterQueue } from "../services/DeadLetterQueue.ts"
import type { DistributedLock } from "../services/DistributedLock.ts"
import type { SagaGuard } from "../services/SagaGuard.ts"
import { jsonCodec } from "./internal/Codec.ts"
import { type Definition, definitionOf, erase, typed } from "./internal/Definition.ts"
import type { Receipt } from "./internal/Ending.ts"
import { execute } from "./internal/Execute.ts"
import { type RedrivenAll, redriveAll, redriveOne } from "./internal/RedriveQueue.ts"
import { defineSaga, sagaOf } from "./internal/Registry.ts"
import type { SagaDefinition } from "./internal/Request.ts"
import * as Step from "./Step.ts"

export type { Receipt } from "./internal/Ending.ts"
export type { StepFailure } from "./Step.ts"

export interface ExecuteOptions {
  /** "This request was served": 1 to 255 printable characters. Without it the key is derived from the payload. */
  readonly idempotencyKey?: string
}

export type SagaError =
  | Step.StepFailure
  | SagaTimeout
  | LockError
  | IdempotencyError
  | InvalidPayload
  | CompensationError
  | OutcomeUnknown
  | JournalError
export type SagaServices = DistributedLock | SagaGuard | CircuitBreakers | DeadLetterQueue

export interface Saga<
  Name extends string,
  Payload extends Schema.Constraint,
  Success extends Schema.Constraint,
  Error extends Schema.Constraint,
  R
> {
  readonly sagaName: Name
  readonly version: number
  readonly payload: Payload
  readonly success: Success
  readonly error: Error
  readonly execute: (
    payload: Payload["Type"],
    options?: ExecuteOptions
  ) => Effect.Effect<Success["Type"], Error["Type"] | SagaError, R | SagaServices>
  /** As `execute`, with what it did beside its result. */
  readonly executeReceipt: (
    payload: Payload["Type"],
    options?: ExecuteOptions
  ) => Effect.Effect<Receipt<Success["Type"]>, Error["Type"] | SagaError, R | SagaServices>
}

/** Any saga, whatever its types. */
export interface Any {
  readonly sagaName: string
  readonly version: number
  readonly payload: Schema.Constraint
  readonly success: Schema.Constraint
  readonly error: Schema.Constraint
}

/** The services the steps of a saga need, beside those of `SagaServices`. */
export type Services<S> = S extends Saga<infer _Name, infer _Payload, infer _Success, infer _Error, infer R> ? R : never

/**
 * Declares a saga. `run` may call every step listed in `steps` and no other, fails with the declared errors and no
 * other, and is handed what its steps need by whoever executes it.
 */
export const make = <
  const Name extends string,
  Payload extends Schema.Constraint,
  const Steps extends ReadonlyArray<Step.Any>,
  R,
  Success extends Schema.Constraint = Schema.Void,
  Error extends Schema.Constraint = Schema.Never
>(
  name: Name,
  options: {
    /** Counted up when `run` or a schema changes so that an older execution cannot be redriven by it; 1 unless said. */
    readonly version?: number
    /** Its older versions, as they were declared: what they left unfinished is settled and redriven by them. */
    readonly previous?: ReadonlyArray<Any>
    readonly payload: Payload
    readonly success?: Success
    readonly error?: Error
    /** What only one saga may touch at a time: one resource, or several. */
    readonly resource: (payload: Payload["Type"]) => string | ReadonlyArray<string>
    /** Every step that `run` may call; a dead letter or a crashed saga finds its step here. */
    readonly steps: Steps
    /** Typed failures that a repeat should get back instead of running again; by default none. */
    readonly recordFailure?: (error: Error["Type"]) => boolean
    /** Before the point of no return; unlimited unless said. */
    readonly timeout?: Duration.Input
    readonly run: (payload: Payload["Type"]) => Effect.Effect<Success["Type"], Error["Type"] | Step.StepFailure, R>
  }
): Saga<
  Name,
  Payload,
  Success,
  Error,
  Exclude<R, Step.SagaRun | Step.Listed<Steps[number]["stepName"]>> | Step.Services<Steps[number]>
> => {
  type Requirements = Exclude<R, Step.SagaRun | Step.Listed<Steps[number]["stepName"]>> | Step.Services<Steps[number]>
  const success = erase<Success>(options.success ?? Schema.Void)
  const error = erase<Error>(options.error ?? Schema.Never)
  const version = options.version ?? 1
  const definition: SagaDefinition = {
    name,
    version,
    payload: jsonCodec(options.payload),
    success: jsonCodec(success),
    error: jsonCodec(error),
    resources: (payload) => {
      const resource = options.resource(payload)
      return typeof resource === "string" ? [resource] : resource
    },
    steps: stepsByName(name, options.steps),
    recordFailure: options.recordFailure === undefined ? () => false : erase(options.recordFailure),
    timeout: options.timeout === undefined ? undefined : Duration.fromInputUnsafe(options.timeout),
    run: erase(options.run),
    previous: previousVersions(name, version, options.previous ?? [])
  }
  const executed =
    <A>(as: (receipt: Receipt<unknown>) => unknown) =>
    (
      payload: Payload["Type"],
      executeOptions?: ExecuteOptions
    ): Effect.Effect<A, Error["Type"] | SagaError, Requirements | SagaServices> =>
      typed(execute(definition, payload, executeOptions?.idempotencyKey, as))
  return defineSaga(
    {
      sagaName: name,
      version,
      payload: options.payload,
      success,
      error,
      executeReceipt: executed<Receipt<Success["Type"]>>(whole),
      execute: executed<Success["Type"]>(valueOf)
    } satisfies Saga<Name, Payload, Success, Error, Requirements>,
    definition
  )
}

const whole = (receipt: Receipt<unknown>) => receipt
const valueOf = ({ value }: Receipt<unknown>) => value

const previousVersions = (
  name: string,
  version: number,
  previous: ReadonlyArray<Any>
): ReadonlyMap<number, SagaDefinition> => {
  const byVersion = new Map<number, SagaDefinition>()
  for (const older of previous) {
    const problem =
      older.sagaName !== name
        ? `is another saga`
        : older.version === version || byVersion.has(older.version)
          ? `has version ${older.version}, which another has`
          : undefined
    if (problem !== undefined) {
      throw new TypeError(`${name} lists ${older.sagaName} as a previous version, but it ${problem}`)
    }
    byVersion.set(older.version, sagaOf(older))
  }
  return byVersion
}

const stepsByName = (saga: string, steps: ReadonlyArray<Step.Any>): ReadonlyMap<string, Definition> => {
  const byName = new Map<string, Definition>()
  for (const step of steps) {
    if (byName.has(step.stepName)) {
      throw new TypeError(`${saga} lists two steps named ${step.stepName}: a dead letter could not tell them apart`)
    }
    byName.set(step.stepName, definitionOf(step))
  }
  return byName
}

/**
 * Runs dead letters of the given sagas again, by hand. `one` fails with `NotRedrivable` and the reason unless it is
 * resolved; `all` goes through all that wait, due or not.
 */
export const redrive = <const Sagas extends ReadonlyArray<Any>>(
  sagas: Sagas
): {
  readonly one: (id: string) => Effect.Effect<DeadLetter, DeadLetterError, Services<Sagas[number]> | SagaServices>
  readonly all: (
    filter?: DeadLetterFilter
  ) => Effect.Effect<RedrivenAll, DeadLetterError, Services<Sagas[number]> | SagaServices>
} => {
  const definitions = sagas.map(sagaOf)
  return {
    one: (id) => typed(redriveOne(definitions, id)),
    all: (filter = {}) => typed(redriveAll(definitions, filter))
  }
}

/**
 * A whole saga as one step of another. Its resources must be among the outer's; it takes no lock and records no result
 * of its own, and it is undone as a unit, last step first.
 */
export const asStep = <
  Name extends string,
  Payload extends Schema.Constraint,
  Success extends Schema.Constraint,
  Error extends Schema.Constraint,
  R
>(
  saga: Saga<Name, Payload, Success, Error, R>
): Step.Step<Name, Payload, Success, Error, R> => {
  const definition = sagaOf(saga)
  return Step.fromDefinition(
    { name: saga.sagaName, input: saga.payload, output: saga.success, error: saga.error },
    {
      _tag: "Nested",
      name: saga.sagaName,
      input: saga.payload,
      output: saga.success,
      error: saga.error,
      timeout: definition.timeout,
      steps: definition.steps,
      resources: definition.resources,
      run: definition.run
    }
  )
}
