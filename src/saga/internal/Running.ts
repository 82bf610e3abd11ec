/** Calling a step: the saga that runs in the fiber keeps the books of it. */
import { Cause, Context, Effect, type Exit, type Fiber, Option } from "effect"
import { StepTimeout } from "../../schema/SagaError.ts"
import { attempts } from "./Attempts.ts"
import type { Definition, Erased, NestedSaga, RetriableStep, UndoableStep } from "./Definition.ts"
import { type Call, type Frame, type NestedCall, type Root, refusedFloor } from "./Frame.ts"
import { park } from "./Park.ts"
import { undo } from "./Undo.ts"

/** The saga, or nested saga, whose `run` this fiber is in. */
export class Running extends Context.Service<Running, Frame>()("effect-saga/saga/internal/Running") {}

/** None starts once undoing has begun, or in a fiber that outlived its saga. */
export const callStep = (definition: Definition, input: unknown): Erased =>
  Effect.withFiber((fiber) => {
    const frame = Context.getOrUndefined(fiber.context, Running)
    if (frame === undefined) return Effect.die(new Error(`the step ${definition.name} was called outside a saga`))
    if (frame.steps.get(definition.name) !== definition) {
      return Effect.die(new Error(`the step ${definition.name} is not among the steps of ${frame.root.saga}`))
    }
    if (frame.root.closed) return Effect.interrupt
    switch (definition._tag) {
      case "Undoable":
        return callUndoable(frame, definition, input, fiber)
      case "Retriable":
        return callRetriable(frame, definition, input)
      case "Nested":
        return callNested(frame, definition, input)
    }
  })

const leave = (root: Root, call: number): void => {
  root.running.delete(call)
  if (root.running.size === 0) {
    for (const resume of root.idle.splice(0)) resume()
  }
}

/** Until no undoable call runs. */
export const whenIdle = (root: Root): Effect.Effect<void> =>
  Effect.suspend(() =>
    root.running.size === 0
      ? Effect.void
      : Effect.callback<void>((resume) => {
          root.idle.push(() => resume(Effect.void))
        })
  )

const spanned = (effect: Erased, kind: string, root: Root, step: { readonly name: string }, call: number): Erased =>
  Effect.withSpan(effect, `${kind} ${step.name}`, {
    captureStackTrace: false,
    attributes: { saga: root.saga, sagaId: root.sagaId, step: step.name, call }
  }).pipe(Effect.annotateLogs({ step: step.name }))

const callUndoable = (
  frame: Frame,
  definition: UndoableStep,
  input: unknown,
  fiber: Fiber.Fiber<unknown, unknown>
): Erased => {
  const root = frame.root
  const call: Call = {
    number: root.nextCall++,
    path: frame.path + definition.name,
    definition,
    input,
    before: undefined,
    output: Option.none(),
    touched: false,
    attempts: 0,
    finished: undefined
  }
  frame.calls.push(call)
  root.running.set(call.number, fiber)
  const settings = {
    root,
    step: definition,
    call: call.number,
    limit: definition.timeout ?? root.settings.stepTimeout,
    retry: definition.retry ?? root.settings.stepRetry
  }
  const observe = (exit: Exit.Exit<unknown, unknown>) => {
    call.attempts++
    if (exit._tag === "Success" || !provesUntouched(definition, exit.cause)) call.touched = true
  }
  const execute = Effect.suspend(() =>
    attempts({ ...settings, effect: Effect.suspend(() => definition.execute(input, call.before)), observe })
  )
  const prepare = definition.prepare
  const whole =
    prepare === undefined
      ? execute
      : Effect.flatMap(
          attempts({ ...settings, preparing: true, effect: Effect.suspend(() => prepare(input)) }),
          (before) => {
            call.before = before
            return execute
          }
        )
  return Effect.onExit(spanned(whole, "step", root, definition, call.number), (exit) =>
    Effect.sync(() => {
      if (exit._tag === "Success") {
        call.output = Option.some(exit.value)
        call.finished = root.nextFinished++
      }
      leave(root, call.number)
    })
  )
}

/** A typed error that says so, or a refusal by the store's floor; interruption, defects and timeouts prove nothing. */
const provesUntouched = (step: UndoableStep, cause: Cause.Cause<unknown>): boolean => {
  const error = Cause.findErrorOption(cause)
  if (Option.isNone(error) || Cause.hasDies(cause) || Cause.hasInterrupts(cause)) return false
  if (refusedFloor(error.value) !== undefined) return true
  return !(error.value instanceof StepTimeout) && step.notApplied(error.value)
}

/** Exhausted or interrupted, it is parked and the saga goes on; refused by a higher floor, it is superseded. */
const callRetriable = (frame: Frame, step: RetriableStep, input: unknown): Erased =>
  Effect.suspend(() => {
    const root = frame.root
    const number = root.nextCall++
    const start = Effect.andThen(
      whenIdle(root),
      Effect.suspend(() => {
        if (root.closed) return Effect.interrupt
        root.pivoted = true
        return attempts({
          root,
          step,
          call: number,
          limit: step.timeout ?? root.settings.stepTimeout,
          retry: step.retry ?? root.settings.stepRetry,
          effect: Effect.suspend(() => step.execute(input))
        })
      })
    )
    const parkIt = (cause: Cause.Cause<unknown>) =>
      Effect.map(
        park(root, { kind: "retriable", path: frame.path + step.name, step, call: number, input, cause }),
        (id) => {
          root.parked.push(id)
        }
      )
    return spanned(start, "step", root, step, number).pipe(
      Effect.onInterrupt(() => (root.pivoted ? parkIt(Cause.interrupt()) : Effect.void)),
      Effect.catchCause((cause) => {
        if (Cause.hasInterrupts(cause)) return Effect.failCause(cause)
        const error = Cause.findErrorOption(cause)
        if (Option.isSome(error) && refusedFloor(error.value) !== undefined) {
          return Effect.logInfo(`${step.name} is superseded: a later saga wrote`)
        }
        return Effect.uninterruptible(parkIt(cause))
      }),
      Effect.asVoid
    )
  })

/** Undone as a unit when it fails; its error is the outer saga's to handle. */
const callNested = (frame: Frame, definition: NestedSaga, payload: unknown): Erased =>
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
    const nested: NestedCall = {
      number: root.nextCall++,
      path: frame.path + definition.name,
      definition,
      frame: { root, path: `${frame.path}${definition.name}/`, steps: definition.steps, calls: [] },
      finished: undefined
    }
    frame.calls.push(nested)
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
    return Effect.onExit(spanned(inner, "saga", root, definition, nested.number), (exit) => {
      if (exit._tag === "Success") {
        nested.finished = root.nextFinished++
        return Effect.void
      }
      // When the outer saga is ending too, its own undoing covers this one in its order.
      if (root.closed || root.pivoted || Cause.hasInterrupts(exit.cause)) return Effect.void
      return Effect.map(undo(nested.frame, exit.cause), (failures) => {
        root.failures.push(...failures)
      })
    })
  })
