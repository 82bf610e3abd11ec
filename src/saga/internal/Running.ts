/** Calling a step: the saga that runs in the fiber keeps the books of it. */
import { Cause, Context, Effect, Fiber, Option } from "effect"
import { StepTimeout } from "../../schema/SagaError.ts"
import { type Attempt, attemptIn, attempts, attemptsIn, bounded } from "./Attempts.ts"
import { type Begun, Calling } from "./Calling.ts"
import type { Definition, Erased, NestedSaga, RetriableStep, UndoableStep } from "./Definition.ts"
import {
  type Call,
  type Frame,
  type NestedCall,
  ReplayDiffers,
  type RetriableCall,
  type Root,
  refusedFloor
} from "./Frame.ts"
import { whenIdle } from "./Idle.ts"
import { intend, intent, noteDone, noteFailed, opened, pivot } from "./Intent.ts"
import { park } from "./Park.ts"
import { recall } from "./Replay.ts"
import { spannedCall } from "./Spans.ts"
import { undo } from "./Undo.ts"

/** The saga, or nested saga, whose `run` this fiber is in. */
export class Running extends Context.Service<Running, Frame>()("effect-saga/saga/internal/Running") {}

type Resume = (next: Erased) => void
type Waiting = Effect.Effect<unknown> | undefined
const onward = (resume: Resume, next: Erased): undefined => void resume(next)

/** None starts once undoing has begun, or in a fiber that outlived its saga. One callback, since mostly it is all there is. */
export const callStep = (definition: Definition, input: unknown): Erased =>
  Effect.callback((resume) => {
    const fiber: Fiber.Fiber<unknown, unknown> | undefined = Fiber.getCurrent()
    const frame = fiber && Context.getOrUndefined(fiber.context, Running)
    if (fiber === undefined || frame === undefined) {
      return resume(Effect.die(new Error(`the step ${definition.name} was called outside a saga`)))
    }
    if (frame.steps.get(definition.name) !== definition) {
      return resume(Effect.die(new Error(`the step ${definition.name} is not among the steps of ${frame.root.saga}`)))
    }
    if (frame.root.closed || frame.root.aborted !== undefined) return resume(Effect.interrupt)
    switch (definition._tag) {
      case "Undoable":
        return callUndoable(frame, definition, input, fiber, resume)
      case "Retriable":
        return resume(callRetriable(frame, definition, input, fiber))
      case "Nested":
        return resume(callNested(frame, definition, input, fiber))
    }
  })

/** How it ended in an earlier process, or the end of this run. */
interface Over {
  readonly over: Erased
}

/** Its number, and what an earlier process knew of it. */
const begin = (frame: Frame, definition: Definition, input: unknown): Begun | Over => {
  const { root } = frame
  if (root.replay === undefined) return { call: root.nextCall++, again: false, before: undefined }
  const known = recall(root.replay, frame.path + definition.name, definition, input)
  switch (known._tag) {
    case "New":
      return { call: root.nextCall++, again: false, before: undefined }
    case "Again":
      return { call: known.call, again: true, before: known.before }
    case "Ended":
      return { over: known.exit }
    case "Differs":
      root.aborted = new ReplayDiffers(known.problem)
      return { over: Effect.interrupt }
  }
}

const callUndoable = (
  frame: Frame,
  definition: UndoableStep,
  input: unknown,
  fiber: Fiber.Fiber<unknown, unknown>,
  resume: Resume
): Waiting => {
  const { root } = frame
  const begun = begin(frame, definition, input)
  if (begun.over !== undefined) return onward(resume, begun.over)
  const call = new Calling(frame, fiber, definition, input, begun)
  const prepare = begun.again ? undefined : definition.prepare
  if (prepare !== undefined || fiber.cache.tracer !== undefined) {
    const whole = inEffects(frame, call, prepare)
    return onward(
      resume,
      bounded(call, () => spannedCall(whole, fiber, root, "step", call))
    )
  }
  if (!root.books.keeps) return attemptIn(fiber.context, call, call, resume)
  return onward(
    resume,
    bounded(call, () => intended(frame, call, () => attemptsIn(fiber.context, call, call)))
  )
}

const intended = (frame: Frame, call: Calling, then: () => Erased): Erased =>
  intend(frame.root, intent(frame, call.definition, call.number, call.input, call.before), then)

/** What is prepared first, or what somebody sees. */
const inEffects = (frame: Frame, call: Calling, prepare: UndoableStep["prepare"]): Erased => {
  const { root } = frame
  const attempted = attempts(call)
  const execute = root.books.keeps ? Effect.suspend(() => intended(frame, call, () => attempted)) : attempted
  if (prepare === undefined) return execute
  const reading = attemptOf(root, call.definition, call.number, "prepare", () => prepare(call.input))
  return prepared(call, root, reading, execute)
}

const attemptOf = (
  root: Root,
  definition: UndoableStep | RetriableStep,
  number: number,
  kind: "prepare" | "execute",
  effect: () => Erased
): Attempt => ({
  root,
  definition,
  number,
  kind,
  limit: definition.timeout ?? root.settings.stepTimeout,
  millis: definition.timeoutMillis ?? root.stepMillis,
  retry: definition.retry ?? root.settings.stepRetry,
  effect
})

/** What it reads must not be what an unfinished saga left: that one is settled before. */
const prepared = (call: Call, root: Root, reading: Attempt, execute: Erased): Erased => {
  const read = attempts(reading)
  return Effect.flatMap(root.books.isOpen() ? read : Effect.andThen(opened(root), read), (before) => {
    call.before = before
    return execute
  })
}

/** Exhausted or interrupted, it is parked and the saga goes on; refused by a higher floor, it is superseded. */
const callRetriable = (
  frame: Frame,
  step: RetriableStep,
  input: unknown,
  fiber: Fiber.Fiber<unknown, unknown>
): Erased =>
  Effect.suspend(() => {
    const root = frame.root
    const begun = begin(frame, step, input)
    if (begun.over !== undefined) return begun.over
    const number = begun.call
    const path = frame.path + step.name
    const call: RetriableCall = { number, parent: frame.call, path, definition: step, input, over: false }
    root.retriables.push(call)
    const attempted = Effect.suspend(() => {
      root.pivoted = true
      return attempts(attemptOf(root, step, number, "execute", () => step.execute(input)))
    })
    const start = Effect.andThen(
      whenIdle(root),
      Effect.suspend(() => {
        if (root.closed || root.aborted !== undefined) return Effect.interrupt
        if (!root.books.keeps) return attempted
        // From here on recovery brings the saga to its end, so undoing must not begin while this is written.
        const pivoting = Effect.suspend(() => pivot(root, intent(frame, step, number, input, undefined)))
        return Effect.andThen(root.books.isOpen() ? pivoting : Effect.andThen(opened(root), pivoting), attempted)
      })
    )
    const done = Effect.sync(() => {
      call.over = true
      root.books.note({ _tag: "Done", call: number, finished: 0, output: null })
    })
    const parkIt = (cause: Cause.Cause<unknown>) =>
      Effect.map(park(root, { kind: "retriable", path, step, call: number, input, cause }), (id) => {
        call.over = true
        root.parked.push(id)
        root.books.note({ _tag: "Parked", call: number })
      })
    return spannedCall(start, fiber, root, "step", call).pipe(
      Effect.tap(() => done),
      Effect.onInterrupt(() => (root.pivoted && root.aborted === undefined ? parkIt(Cause.interrupt()) : Effect.void)),
      Effect.catchCause((cause) => {
        if (Cause.hasInterrupts(cause)) return Effect.failCause(cause)
        const error = Cause.findErrorOption(cause)
        if (Option.isSome(error) && refusedFloor(error.value) !== undefined) {
          return Effect.andThen(done, Effect.logInfo(`${step.name} is superseded: a later saga wrote`))
        }
        return Effect.uninterruptible(parkIt(cause))
      }),
      Effect.asVoid
    )
  })

/** Undone as a unit when it fails; its error is the outer saga's to handle. */
const callNested = (
  frame: Frame,
  definition: NestedSaga,
  payload: unknown,
  fiber: Fiber.Fiber<unknown, unknown>
): Erased =>
  Effect.suspend(() => {
    const root = frame.root
    const outside = definition.resources(payload).filter((resource) => !root.resources.includes(resource))
    if (outside.length > 0) {
      return Effect.die(
        new Error(
          `${definition.name} needs ${outside.join(", ")}, which the outer saga ${root.saga} does not hold: ` +
            `name it among the outer saga's resources`
        )
      )
    }
    const begun = begin(frame, definition, payload)
    if (begun.over !== undefined) return begun.over
    const path = `${frame.path}${definition.name}/`
    const nested: NestedCall = {
      number: begun.call,
      path: frame.path + definition.name,
      definition,
      payload,
      frame: { root, call: begun.call, path, steps: definition.steps, calls: [] },
      output: Option.none(),
      failure: undefined,
      finished: undefined
    }
    frame.calls.push(nested)
    // It writes nothing itself, so this need not be stored before it starts.
    if (root.books.keeps) root.books.note(intent(frame, definition, begun.call, payload, undefined))
    const run = Effect.provideService(
      Effect.suspend(() => definition.run(payload)),
      Running,
      nested.frame
    )
    const limit = definition.timeout
    const inner =
      limit === undefined
        ? run
        : Effect.timeoutOrElse(run, {
            duration: limit,
            orElse: () => Effect.fail(new StepTimeout({ step: definition.name, after: limit }))
          })
    const logged = Effect.annotateLogs(inner, { step: definition.name })
    return Effect.onExitPrimitive(spannedCall(logged, fiber, root, "saga", nested), (exit) => {
      if (exit._tag === "Success") {
        nested.output = Option.some(exit.value)
        noteDone(root, nested, exit.value)
        return undefined
      }
      nested.failure = exit.cause
      // When the outer saga is ending too, its own undoing covers this one in its order.
      if (root.closed || root.pivoted || root.aborted !== undefined || Cause.hasInterrupts(exit.cause)) {
        return undefined
      }
      return Effect.map(undo(nested.frame, exit.cause), (failures) => {
        root.failures.push(...failures)
        noteFailed(root, nested, true)
      })
    })
  })
