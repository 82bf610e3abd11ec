/** What one execution of a saga knows of itself: who it is, and which of its calls may have to be undone. */
import type { Cause, Effect, Fiber, Option } from "effect"
import type { JournalError } from "../../schema/JournalError.ts"
import type { LockError } from "../../schema/LockError.ts"
import { FloorRefused } from "../../schema/SagaError.ts"
import type { CircuitBreakers } from "../../services/CircuitBreakers.ts"
import type { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import type { Deadlines } from "../../services/Deadlines.ts"
import type { SagaProbe } from "../../services/SagaProbe.ts"
import type { SagaSettings } from "../../services/SagaSettings.ts"
import type { Books } from "./Books.ts"
import type { Definition, NestedSaga, RetriableStep, UndoableStep } from "./Definition.ts"
import type { Replay } from "./Replay.ts"
import type { Together } from "./Together.ts"

/** One call of a step that can be undone. */
export interface Call {
  readonly number: number
  readonly path: string
  readonly definition: UndoableStep
  readonly input: unknown
  before: unknown
  output: Option.Option<unknown>
  /** Whether some attempt may have changed the store. */
  touched: boolean
  attempts: number
  failure: Cause.Cause<unknown> | undefined
  /** The order in which calls finished; undefined while the outcome is not known. */
  finished: number | undefined
}

/** One call of a nested saga: undone as a unit. */
export interface NestedCall {
  readonly number: number
  readonly path: string
  readonly definition: NestedSaga
  readonly payload: unknown
  readonly frame: Frame
  output: Option.Option<unknown>
  failure: Cause.Cause<unknown> | undefined
  finished: number | undefined
}

/** One call of a retriable step. */
export interface RetriableCall {
  readonly number: number
  readonly parent: number | null
  readonly path: string
  readonly definition: RetriableStep
  readonly input: unknown
  /** Done, superseded or parked. */
  over: boolean
}

/** A compensation that failed, and the dead letter that explains it. */
export interface Failure {
  readonly step: string
  readonly deadLetterId: string
  readonly cause: Cause.Cause<unknown>
}

/** An undoable call while it runs, and the fiber that made it. */
export interface RunningCall {
  readonly fiber: Fiber.Fiber<unknown, unknown>
}

/** Shared by a saga and the sagas nested in it. */
export interface Root {
  readonly saga: string
  readonly version: number
  readonly sagaId: string
  readonly resources: ReadonlyArray<string>
  readonly settings: SagaSettings
  /** The limit of an attempt whose step says nothing else. */
  readonly stepMillis: number
  readonly breakers: CircuitBreakers["Service"]
  readonly deadLetters: DeadLetterQueue["Service"]
  readonly books: Books
  readonly probe: SagaProbe | undefined
  readonly deadlines: Deadlines
  readonly together: Together
  /** What an earlier process did of this saga, if one did. */
  readonly replay: Replay | undefined
  /** What writes carry; undoing replaces it by a fresh one. */
  fence: number
  /** A fence above all earlier ones, and the lock to use it under: taken anew if the lease was lost. */
  readonly freshFence: (atLeast: number) => Effect.Effect<number, LockError>
  nextCall: number
  nextFinished: number
  /** Past the point of no return: nothing is undone any more. */
  pivoted: boolean
  /** Whether the journal says so could not be learnt. */
  pivotUnknown: boolean
  /** Undoing has begun: no call starts. */
  closed: boolean
  /** Why no further call may start, though `run` has not ended yet. */
  aborted: LockError | JournalError | ReplayDiffers | undefined
  /** Those of the undoable calls that run now: mostly one, the last. */
  readonly running: Array<RunningCall>
  /** Resumed when `running` becomes empty. */
  readonly idle: Array<() => void>
  readonly retriables: Array<RetriableCall>
  /** Dead letters of retriable steps. */
  readonly parked: Array<string>
  /** Dead letters of nested sagas that could not be undone. */
  readonly failures: Array<Failure>
}

/** Run again, the saga did otherwise than its journal says. */
export class ReplayDiffers extends Error {
  readonly _tag = "ReplayDiffers"
}

/** A saga, or a nested one, with the calls it made itself. */
export interface Frame {
  readonly root: Root
  /** The number of the nested saga's own call; `null`: the outermost. */
  readonly call: number | null
  /** Of the nested saga within the outer ones: "" or "Inner/". */
  readonly path: string
  readonly steps: ReadonlyMap<string, Definition>
  readonly calls: Array<Call | NestedCall>
}

export const isNested = (call: Call | NestedCall): call is NestedCall => call.definition._tag === "Nested"

const mayNeedUndo = (call: Call | NestedCall): boolean => (isNested(call) ? isLeft(call.frame) : call.touched)

const latestFirst = (a: Call | NestedCall, b: Call | NestedCall): number => {
  if (a.finished === undefined || b.finished === undefined) {
    if (a.finished === b.finished) return b.number - a.number
    return a.finished === undefined ? -1 : 1
  }
  return b.finished - a.finished
}

/** Whether any call may have left something. */
export const isLeft = (frame: Frame): boolean => frame.calls.some(mayNeedUndo)

/** The calls that may have left something: those without a known outcome first, then the last finished first. */
export const toUndo = (frame: Frame): ReadonlyArray<Call | NestedCall> =>
  frame.calls.filter(mayNeedUndo).sort(latestFirst)

/** The floor that a store reported when it refused a write, if this error is such a refusal. */
export const refusedFloor = (error: unknown): number | undefined => {
  if (error instanceof FloorRefused) return error.floor
  if (typeof error === "object" && error !== null && "reason" in error && error.reason instanceof FloorRefused) {
    return error.reason.floor
  }
  return undefined
}
