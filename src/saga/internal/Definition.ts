/**
 * What a step is made of, with its types erased: the interpreter treats all steps alike, and the public constructors
 * vouch for the types. The casts of `src/saga` live here.
 */
import type { Cause, Duration, Effect, Option, Schedule, Schema } from "effect"

/** An effect of unknown types, run in the fiber of the saga that has its services. */
export type Erased = Effect.Effect<unknown, unknown>

export interface UndoDetails {
  readonly before: unknown
  readonly output: Option.Option<unknown>
  readonly cause: Cause.Cause<unknown>
}

interface Calling {
  readonly name: string
  readonly input: Schema.Constraint
  readonly dependency: string | undefined
  readonly isTransient: (error: unknown) => boolean
  readonly retry: Schedule.Schedule<unknown> | undefined
  readonly timeout: Duration.Duration | undefined
  /** The same in milliseconds, worked out once: there is one limit for each attempt. */
  readonly timeoutMillis: number | undefined
}

export interface UndoableStep extends Calling {
  readonly _tag: "Undoable"
  readonly before: Schema.Constraint
  readonly output: Schema.Constraint
  readonly error: Schema.Constraint
  readonly prepare: ((input: unknown) => Erased) | undefined
  readonly execute: (input: unknown, before: unknown) => Erased
  readonly compensate: (input: unknown, details: UndoDetails) => Erased
  readonly notApplied: (error: unknown) => boolean
  readonly fenced: boolean
  readonly rollback: string
}

export interface RetriableStep extends Calling {
  readonly _tag: "Retriable"
  readonly execute: (input: unknown) => Erased
}

/** A whole saga called from another. */
export interface NestedSaga {
  readonly _tag: "Nested"
  readonly name: string
  readonly input: Schema.Constraint
  readonly output: Schema.Constraint
  readonly error: Schema.Constraint
  readonly timeout: Duration.Duration | undefined
  readonly steps: ReadonlyMap<string, Definition>
  readonly resources: (payload: unknown) => ReadonlyArray<string>
  readonly run: (payload: unknown) => Erased
}

export type StepDefinition = UndoableStep | RetriableStep
export type Definition = StepDefinition | NestedSaga

const definitions = new WeakMap<object, Definition>()

/** Attaches the definition to the step's public value. */
export const define = <Step extends object>(step: Step, definition: Definition): Step => {
  definitions.set(step, definition)
  return step
}

/** A value that only looks like a step (built by hand, or by another copy of the package) has no definition. */
export const definitionOf = (step: { readonly stepName: string }): Definition => {
  const definition = definitions.get(step)
  if (definition === undefined) {
    throw new TypeError(`${step.stepName} is not a step of this copy of effect-saga: make it with Step.make`)
  }
  return definition
}

/** Forgets the types of a function or value that the public constructors have checked. */
export const erase = <To>(value: unknown): To => value as To

/** Gives an interpreted effect the types that the public signature promises. */
export const typed = <A, E, R>(effect: Effect.Effect<unknown, unknown, unknown>): Effect.Effect<A, E, R> =>
  effect as Effect.Effect<A, E, R>
