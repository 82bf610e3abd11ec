/** How an admitted saga ends: committed, undone, or explained by dead letters. */
import { Cause, Effect, Metric, Option } from "effect"
import type { LockError } from "../../schema/LockError.ts"
import { CompensationError, OutcomeUnknown } from "../../schema/SagaError.ts"
import type { Ending } from "../../services/Idempotency.ts"
import type { Admission } from "../../services/SagaGuard.ts"
import { closeBooks } from "./Close.ts"
import type { Failure, Frame, Root } from "./Frame.ts"
import { journalLost } from "./Intent.ts"
import { outcomesOf } from "./Outcomes.ts"
import { parkAbandoned, parkForward } from "./Park.ts"
import { endingText, type Request, type SagaDefinition } from "./Request.ts"
import { undo } from "./Undo.ts"

export interface Receipt<A> {
  readonly sagaId: string
  readonly value: A
  /** The recorded result of an earlier execution: nothing ran. */
  readonly replayed: boolean
  /** Whether a repeat will get this result. */
  readonly recorded: boolean
  /** Dead letters of retriable steps still to be redriven. */
  readonly parked: ReadonlyArray<string>
}

export interface Admitted {
  readonly saga: SagaDefinition
  readonly payload: unknown
  readonly request: Request
  readonly admission: Extract<Admission, { readonly _tag: "Admitted" }>
}

const resultsNotKept = Metric.counter("saga_results_not_kept_total", {
  description: "Sagas that succeeded with a result too large or not serialisable to record",
  incremental: true
})

/** What a repeat gets of a success. */
export const successEnding = (saga: SagaDefinition, root: Root, value: unknown): Effect.Effect<Ending> => {
  const text = endingText(saga, root.sagaId, "ok", value)
  if (text !== undefined && text.length <= root.settings.maxResultSize) return Effect.succeed({ _tag: "Result", text })
  const problem = text === undefined ? "is not serialisable" : "is too large"
  return Effect.logWarning(`the result of ${saga.name} ${problem} and is not recorded: a repeat will not get it`).pipe(
    Effect.andThen(Metric.update(resultsNotKept, 1)),
    Effect.as({ _tag: "Served" } satisfies Ending)
  )
}

/** The saga has succeeded when its end is stored; refused, it is settled like a crash. */
export const commitSuccess = <A>(entry: Admitted, frame: Frame, value: unknown, as: (receipt: Receipt<unknown>) => A) =>
  Effect.flatMapEager(successEnding(entry.saga, frame.root, value), (ending) => {
    const receipt = (recorded: boolean): A =>
      as({
        sagaId: entry.request.sagaId,
        value,
        replayed: false,
        recorded: recorded && ending._tag === "Result",
        parked: frame.root.parked
      })
    return frame.root.books.keeps
      ? Effect.map(closeAndCommit(entry, frame.root, ending), receipt)
      : Effect.matchEffect(entry.admission.commit(ending), {
          onSuccess: (recorded) => Effect.succeed(receipt(recorded)),
          onFailure: (error) => uncommitted(entry, frame, error)
        })
  })

/** The journal first, then what a repeat is served from: that it cannot be recorded takes nothing back. */
const closeAndCommit = (
  { admission, request }: Admitted,
  root: Root,
  ending: Ending
): Effect.Effect<boolean, LockError | OutcomeUnknown> => {
  const end = { outcome: "succeeded", result: ending._tag === "Result" ? ending.text : null } as const
  const hasLetters = root.parked.length > 0
  const commit = () =>
    Effect.catch(admission.commit(ending), (error) =>
      Effect.as(Effect.logWarning("the saga succeeded, but its result could not be recorded", error), false)
    )
  const apart = () =>
    Effect.flatMap(closeBooks(root, end, hasLetters), (closing): Effect.Effect<boolean, LockError | OutcomeUnknown> => {
      if (closing === "refused") return Effect.fail(journalLost(root))
      return closing === "unknown" ? Effect.fail(new OutcomeUnknown({ sagaId: request.sagaId })) : commit()
    })
  const { commitClosing } = admission
  // A journal that stays open, for its letters, has no end yet.
  const together =
    commitClosing === undefined || hasLetters
      ? undefined
      : root.books.closeBy(end, (closing) => commitClosing(ending, closing))
  if (together === undefined) return apart()
  return Effect.matchEffect(together, {
    onSuccess: ({ closed, recorded }): Effect.Effect<boolean, LockError | OutcomeUnknown> => {
      if (!closed) return Effect.fail(journalLost(root))
      return recorded === undefined ? commit() : Effect.succeed(recorded)
    },
    // Asking again, for each by itself, is how a lost reply is read back.
    onFailure: apart
  })
}

const uncommitted = Effect.fnUntraced(function* (
  entry: Admitted,
  frame: Frame,
  error: LockError | OutcomeUnknown
): Effect.fn.Return<never, unknown> {
  const { root } = frame
  if (error._tag === "OutcomeUnknown") return yield* error
  if (!root.pivoted) return yield* endFailure(entry, frame, Cause.fail(error))
  const { fence, resources, saga, sagaId } = root
  yield* parkAbandoned(root, { saga, sagaId, fence, resources, journaled: false })
  return yield* error
})

/** Undoes, or past the point of no return explains what is left to do; then ends with the saga's own error. */
export const endFailure = (
  entry: Admitted,
  frame: Frame,
  cause: Cause.Cause<unknown>
): Effect.Effect<never, unknown> =>
  frame.root.books.keeps
    ? Effect.flatMap(isOursToEnd(frame.root, cause), (isOurs) =>
        isOurs ? undoAndEnd(entry, frame, cause) : Effect.failCause(cause)
      )
    : undoAndEnd(entry, frame, cause)

const undoAndEnd = (entry: Admitted, frame: Frame, cause: Cause.Cause<unknown>): Effect.Effect<never, unknown> => {
  const { admission, payload, request, saga } = entry
  const { root } = frame
  const over = (failures: ReadonlyArray<Failure>): Effect.Effect<never, unknown> =>
    failures.length === 0
      ? Effect.failCause(cause)
      : Effect.fail(
          new CompensationError({
            saga: saga.name,
            sagaId: request.sagaId,
            cause: Cause.squash(cause),
            failures: failures.map((failure) => ({ ...failure, cause: Cause.squash(failure.cause) }))
          })
        )
  const commit = (failures: ReadonlyArray<Failure>) =>
    Effect.matchEffect(admission.commit(failureEnding(saga, root, cause, failures)), {
      onFailure: (error) =>
        Effect.andThen(Effect.logWarning("the end of a failed saga could not be stored", error), over(failures)),
      onSuccess: () => over(failures)
    })
  const end = (failures: ReadonlyArray<Failure>) => {
    if (!root.books.keeps) return commit(failures)
    const outcome = failures.length === 0 ? "undone" : "parked"
    const closing = closeBooks(root, { outcome, result: null }, failures.length > 0 || root.parked.length > 0)
    return Effect.flatMap(closing, () => commit(failures))
  }
  return root.pivoted
    ? Effect.flatMap(parkForward(frame, saga.payload, payload, outcomesOf(frame, [], cause), cause), (failure) =>
        end([...root.failures, failure])
      )
    : Effect.flatMap(undo(frame, cause), (failures) => end([...root.failures, ...failures]))
}

/**
 * With a journal, whoever owns it settles the saga. Before undoing that is written down: then the journal is surely
 * still ours. Past the point of no return recovery goes on with what a lost lease or journal broke off.
 */
const isOursToEnd = Effect.fnUntraced(function* (root: Root, cause: Cause.Cause<unknown>): Effect.fn.Return<boolean> {
  if (root.pivoted) return root.aborted === undefined && !isLockLost(cause)
  const written = yield* Effect.result(root.books.write({ _tag: "Undoing" }))
  if (written._tag === "Success") return written.success
  yield* Effect.logWarning("undoing could not be journaled", written.failure)
  return !root.pivotUnknown
})

const isLockLost = (cause: Cause.Cause<unknown>): boolean => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  return typeof error === "object" && error !== null && "_tag" in error && error._tag === "LockError"
}

const failureEnding = (
  saga: SagaDefinition,
  root: Root,
  cause: Cause.Cause<unknown>,
  failures: ReadonlyArray<Failure>
): Ending => {
  const error = Cause.findErrorOption(cause)
  const final = failures.length === 0 && Option.isSome(error) && !Cause.hasDies(cause) && !Cause.hasInterrupts(cause)
  if (!final || !saga.recordFailure(error.value)) return { _tag: "Nothing" }
  const text = endingText(saga, root.sagaId, "err", error.value)
  return text === undefined ? { _tag: "Nothing" } : { _tag: "Result", text }
}
