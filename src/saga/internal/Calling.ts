/** A call of a step that can be undone, while it runs: what is written down of it as it begins, tries and ends. */
import { Cause, type Duration, type Exit, type Fiber, Option, type Schedule } from "effect"
import { StepTimeout } from "../../schema/SagaError.ts"
import type { Attempt, Bounds } from "./Attempts.ts"
import type { Erased, UndoableStep } from "./Definition.ts"
import { type Call, type Frame, type Root, type RunningCall, refusedFloor } from "./Frame.ts"
import { leave } from "./Idle.ts"
import { noteDone, noteFailed } from "./Intent.ts"

/** Its number, and what an earlier process knew of it. */
export interface Begun {
  readonly call: number
  readonly again: boolean
  readonly before: unknown
  readonly over?: undefined
}

const none = Option.none()

export class Calling implements Call, RunningCall, Bounds, Attempt {
  declare readonly root: Root
  declare readonly number: number
  declare readonly path: string
  declare readonly definition: UndoableStep
  declare readonly input: unknown
  declare before: unknown
  declare output: Option.Option<unknown>
  declare touched: boolean
  declare attempts: number
  declare failure: Cause.Cause<unknown> | undefined
  declare finished: number | undefined
  declare readonly fiber: Fiber.Fiber<unknown, unknown>
  declare readonly limit: Duration.Duration
  declare readonly millis: number
  declare readonly retry: Schedule.Schedule<unknown>
  declare private isRunning: boolean
  declare private readonly frame: Frame

  constructor(
    frame: Frame,
    fiber: Fiber.Fiber<unknown, unknown>,
    definition: UndoableStep,
    input: unknown,
    begun: Begun
  ) {
    const { root } = frame
    this.root = root
    this.number = begun.call
    this.path = frame.path + definition.name
    this.definition = definition
    this.input = input
    this.before = begun.before
    this.output = none
    this.touched = false
    this.attempts = 0
    this.failure = undefined
    this.finished = undefined
    this.fiber = fiber
    this.limit = definition.timeout ?? root.settings.stepTimeout
    this.millis = definition.timeoutMillis ?? root.stepMillis
    this.retry = definition.retry ?? root.settings.stepRetry
    this.isRunning = false
    this.frame = frame
  }

  get kind(): "execute" {
    return "execute"
  }
  effect(): Erased {
    return this.definition.execute(this.input, this.before)
  }

  begin(): boolean {
    const { root } = this
    if (this.isRunning) return true
    // Undoing may have begun since it was called, if its fiber has yielded.
    if (root.closed || root.aborted !== undefined) return false
    this.frame.calls.push(this)
    root.running.push(this)
    this.isRunning = true
    return true
  }

  tried(exit: Exit.Exit<unknown, unknown>): void {
    this.attempts++
    const before = this.touched
    // Also if `notApplied` throws.
    this.touched = true
    if (exit._tag === "Failure" && provesUntouched(this.definition, exit.cause)) this.touched = before
  }

  ended(exit: Exit.Exit<unknown, unknown>): void {
    const { root } = this
    if (!this.isRunning) return
    if (exit._tag === "Success") {
      this.output = Option.some(exit.value)
      noteDone(root, this, exit.value)
    } else {
      this.failure = exit.cause
      noteFailed(root, this, !this.touched)
    }
    this.isRunning = false
    leave(root, this)
  }
}

/** A typed error that says so, or a refusal by the store's floor; interruption, defects and timeouts prove nothing. */
const provesUntouched = (step: UndoableStep, cause: Cause.Cause<unknown>): boolean => {
  const error = Cause.findErrorOption(cause)
  if (Option.isNone(error) || Cause.hasDies(cause) || Cause.hasInterrupts(cause)) return false
  if (refusedFloor(error.value) !== undefined) return true
  return !(error.value instanceof StepTimeout) && step.notApplied(error.value)
}
