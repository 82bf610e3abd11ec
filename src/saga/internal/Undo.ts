/**
 * Undoing: calls without a known outcome first, then the last finished first, one after another. A failure stops
 * nothing: it becomes a dead letter.
 */
import { Cause, type Context, Duration, Effect, Option } from "effect"
import { isTraced } from "../../services/Traced.ts"
import { type Attempt, attempts, attemptsIn, nobody } from "./Attempts.ts"
import type { Erased } from "./Definition.ts"
import { type Call, type Failure, type Frame, isLeft, isNested, type Root, refusedFloor, toUndo } from "./Frame.ts"
import { park } from "./Park.ts"
import { spannedCall } from "./Spans.ts"

/**
 * Undoes what the frame's calls may have left: to be called uninterruptible, and when it is to be run. It begins by drawing
 * a fresh fence, so that a write of this saga that lands later is refused; without one (the lock is another's, or cannot be
 * asked) everything is parked.
 */
export const undo = (frame: Frame, cause: Cause.Cause<unknown>): Effect.Effect<ReadonlyArray<Failure>> => {
  if (!isLeft(frame)) return Effect.succeed([])
  const { root } = frame
  const error = Cause.findErrorOption(cause)
  const refused = Option.isSome(error) ? refusedFloor(error.value) : undefined
  return Effect.matchCauseEffectEager(root.freshFence(refused === undefined ? 0 : refused + 1), {
    onSuccess: (fence) => {
      root.fence = fence
      return Effect.withFiber(({ context }) => undoFrame(context, frame, cause))
    },
    onFailure: (lockCause) => parkFrame(frame, lockCause, cause)
  })
}

type Undoing = Effect.fn.Return<ReadonlyArray<Failure>>

const undoFrame = (
  context: Context.Context<never>,
  frame: Frame,
  cause: Cause.Cause<unknown>
): Effect.Effect<ReadonlyArray<Failure>> => {
  const { root } = frame
  const calls = toUndo(frame)
  const failures: Array<Failure> = []
  const from = (at: number): Effect.Effect<ReadonlyArray<Failure>> => {
    const call = calls[at]
    if (call === undefined) return Effect.succeed(failures)
    const failed = (...more: ReadonlyArray<Failure>) => {
      failures.push(...more)
      return from(at + 1)
    }
    if (isNested(call)) return Effect.flatMap(undoFrame(context, call.frame, cause), (more) => failed(...more))
    const undone = () => {
      root.books.note({ _tag: "Undone", call: call.number })
      return from(at + 1)
    }
    return Effect.matchCauseEffect(undoIn(context, root, call, cause), {
      onFailure: (problem) => {
        call.touched = false
        return Effect.flatMap(parkCall(root, call, problem, cause), (failure) => failed(failure))
      },
      onSuccess: () => {
        call.touched = false
        return Option.isSome(call.output) || call.definition.fenced
          ? undone()
          : Effect.flatMap(parkVerify(root, call, cause), undone)
      }
    })
  }
  return from(0)
}

export const undoCall = (root: Root, call: Call, cause: Cause.Cause<unknown>): Erased =>
  Effect.withFiber(({ context }) => undoIn(context, root, call, cause))

const undoIn = (context: Context.Context<never>, root: Root, call: Call, cause: Cause.Cause<unknown>): Erased => {
  const { definition, number } = call
  const compensating: Attempt = {
    root,
    definition,
    number,
    kind: "compensate",
    limit: root.settings.compensationTimeout,
    millis: Duration.toMillis(root.settings.compensationTimeout),
    retry: root.settings.compensationRetry,
    effect: () => definition.compensate(call.input, { before: call.before, output: call.output, cause })
  }
  const settled = (first: Erased) =>
    Effect.catch(first, (error): Erased => {
      const floor = refusedFloor(error)
      return floor === undefined ? Effect.fail(error) : aboveFloor(root, floor, attempts(compensating))
    })
  return isTraced(context)
    ? spannedCall(settled(attempts(compensating)), { context }, root, "compensation", call)
    : settled(attemptsIn(context, compensating, nobody))
}

/**
 * A floor above a freshly drawn fence is either a later owner's, whose write replaced ours: then the lock is no longer
 * ours and nothing is left to undo; or the lock's clock fell behind: then a fence above the floor is drawn.
 */
const aboveFloor = (root: Root, floor: number, compensate: Erased): Erased =>
  Effect.matchEffect(root.freshFence(floor + 1), {
    onSuccess: (fence): Erased => {
      root.fence = fence
      return compensate
    },
    onFailure: (error): Erased =>
      error.reason._tag === "LockStoreError"
        ? Effect.fail(error)
        : Effect.logInfo("nothing left to undo: a later saga wrote", error)
  })

const parkFrame = Effect.fnUntraced(function* (
  frame: Frame,
  lockCause: Cause.Cause<unknown>,
  cause: Cause.Cause<unknown>
): Undoing {
  const failures: Array<Failure> = []
  for (const call of toUndo(frame)) {
    if (isNested(call)) {
      failures.push(...(yield* parkFrame(call.frame, lockCause, cause)))
    } else {
      failures.push(yield* parkCall(frame.root, call, lockCause, cause))
      call.touched = false
    }
  }
  return failures
})

const explained = (call: Call, cause: Cause.Cause<unknown>, original: Cause.Cause<unknown>) => ({
  path: call.path,
  step: call.definition,
  call: call.number,
  input: call.input,
  before: call.before,
  output: call.output,
  attempts: call.attempts,
  cause,
  original
})

const parkCall = (root: Root, call: Call, cause: Cause.Cause<unknown>, original: Cause.Cause<unknown>) =>
  Effect.map(park(root, { kind: "compensation", ...explained(call, cause, original) }), (deadLetterId): Failure => {
    root.books.note({ _tag: "Parked", call: call.number })
    return { step: call.path, deadLetterId, cause }
  })

/** The store could not refuse a late write: the undo is to be looked at again when none can be on its way any more. */
const parkVerify = (root: Root, call: Call, original: Cause.Cause<unknown>) =>
  park(root, {
    kind: "verify",
    ...explained(call, original, original),
    after: call.definition.timeout ?? root.settings.stepTimeout
  })
