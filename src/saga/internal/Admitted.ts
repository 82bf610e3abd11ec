/** The run of an admitted saga and how it ends: committed, undone, or explained by dead letters. */
import { Cause, Effect, Exit, Metric, Option, Schedule, Scope } from "effect"
import type { LockError } from "../../schema/LockError.ts"
import { CompensationError, SagaTimeout } from "../../schema/SagaError.ts"
import { CircuitBreakers } from "../../services/CircuitBreakers.ts"
import { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import { DistributedLock, type Lease } from "../../services/DistributedLock.ts"
import type { Ending, IdempotencyRequest, OpenMark } from "../../services/Idempotency.ts"
import type { Admission, SagaGuard } from "../../services/SagaGuard.ts"
import { SagaSettings } from "../../services/SagaSettings.ts"
import { type Failure, type Frame, isNested, type Root } from "./Frame.ts"
import { encoded, park } from "./Park.ts"
import { endingText, type SagaDefinition } from "./Request.ts"
import { Running, whenIdle } from "./Running.ts"
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

export type Services = DistributedLock | SagaGuard | CircuitBreakers | DeadLetterQueue
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

interface Entry {
  readonly saga: SagaDefinition
  readonly payload: unknown
  readonly request: IdempotencyRequest
  readonly admission: Extract<Admission, { readonly _tag: "Admitted" }>
  readonly scope: Scope.Scope
  readonly restore: Restore
}

const resultsNotKept = Metric.counter("saga_results_not_kept_total", {
  description: "Sagas that succeeded with a result too large or not serialisable to record",
  incremental: true
})

/** Must be called uninterruptible; only the run itself is restored. */
export const runAdmitted = Effect.fnUntraced(function* (
  entry: Entry
): Effect.fn.Return<Receipt<unknown>, unknown, Services> {
  const { admission, payload, request, restore, saga, scope } = entry
  const root: Root = {
    saga: saga.name,
    version: saga.version,
    sagaId: request.sagaId,
    resources: request.resources,
    settings: yield* SagaSettings,
    breakers: yield* CircuitBreakers,
    deadLetters: yield* DeadLetterQueue,
    fence: admission.lease.fence,
    freshFence: fenceSource(yield* DistributedLock, admission.lease, request.resources, scope),
    nextCall: 0,
    nextFinished: 0,
    pivoted: false,
    closed: false,
    running: new Map(),
    idle: [],
    parked: [],
    failures: []
  }
  const frame: Frame = { root, path: "", steps: saga.steps, calls: [] }
  for (const mark of admission.abandoned) yield* parkAbandoned(root, mark)

  const exit = yield* Effect.exit(restore(runBody(saga, payload, frame, admission.lease)))
  if (Exit.isFailure(exit)) {
    for (const fiber of root.running.values()) fiber.interruptUnsafe()
  }
  root.closed = Exit.isFailure(exit)
  // A step forked off by `run` counts as long as it runs.
  yield* whenIdle(root)
  root.closed = true
  return Exit.isSuccess(exit)
    ? yield* commitSuccess(entry, frame, exit.value)
    : yield* endFailure(entry, frame, exit.cause)
})

/** Until it ends, the lease is lost, or the saga's time is up before its point of no return. */
const runBody = (
  saga: SagaDefinition,
  payload: unknown,
  frame: Frame,
  lease: Lease
): Effect.Effect<unknown, unknown> => {
  const body = Effect.provideService(
    Effect.suspend(() => saga.run(payload)),
    Running,
    frame
  )
  const limit = saga.timeout
  const contenders: Array<Effect.Effect<unknown, unknown>> = [body]
  if (lease.exclusive) contenders.push(lease.lost)
  if (limit !== undefined) {
    contenders.push(
      Effect.andThen(
        Effect.sleep(limit),
        Effect.suspend(() =>
          frame.root.pivoted ? Effect.never : Effect.fail(new SagaTimeout({ saga: saga.name, after: limit }))
        )
      )
    )
  }
  return contenders.length === 1 ? body : Effect.raceAllFirst(contenders)
}

const brief = Schedule.exponential("50 millis").pipe(Schedule.upTo({ duration: "5 seconds" }))

/**
 * Where undoing gets its fences: from the lease while it is ours; when it is lost or its store cannot be asked, from a
 * lock taken anew and held until the execution ends.
 */
const fenceSource = (
  lock: DistributedLock["Service"],
  first: Lease,
  resources: ReadonlyArray<string>,
  scope: Scope.Scope
): Root["freshFence"] => {
  let lease = first
  return (atLeast) =>
    lease.advance(atLeast).pipe(
      Effect.retry({ schedule: brief, while: (error: LockError) => error.reason._tag === "LockStoreError" }),
      Effect.catch((error) => {
        if (lease !== first) return Effect.fail(error)
        return Effect.flatMap(Scope.provide(lock.acquire(...resources), scope), (anew) => {
          lease = anew
          return anew.fence >= atLeast ? Effect.succeed(anew.fence) : anew.advance(atLeast)
        })
      })
    )
}

/** The saga has succeeded when its end is stored; refused, it is settled like a crash. */
const commitSuccess = Effect.fnUntraced(function* (entry: Entry, frame: Frame, value: unknown) {
  const { admission, request, saga } = entry
  const root = frame.root
  const ending = yield* successEnding(saga, root, value)
  const committed = yield* Effect.result(admission.commit(ending))
  if (committed._tag === "Success") {
    return {
      sagaId: request.sagaId,
      value,
      replayed: false,
      recorded: committed.success && ending._tag === "Result",
      parked: root.parked
    }
  }
  const error = committed.failure
  if (error._tag === "OutcomeUnknown") return yield* error
  if (!root.pivoted) return yield* endFailure(entry, frame, Cause.fail(error))
  yield* parkAbandoned(root, { saga: saga.name, sagaId: root.sagaId, fence: root.fence, resources: root.resources })
  return yield* error
})

const successEnding = Effect.fnUntraced(function* (saga: SagaDefinition, root: Root, value: unknown) {
  const text = endingText(saga, root.sagaId, "ok", value)
  const problem =
    text === undefined ? "is not serialisable" : text.length > root.settings.maxResultSize ? "is too large" : undefined
  if (text !== undefined && problem === undefined) return { _tag: "Result", text } satisfies Ending
  yield* Metric.update(resultsNotKept, 1)
  yield* Effect.logWarning(`the result of ${saga.name} ${problem} and is not recorded: a repeat will not get it`)
  return { _tag: "Served" } satisfies Ending
})

/** Undoes, or past the point of no return explains what is left to do; then ends with the saga's own error. */
const endFailure = Effect.fnUntraced(function* (
  entry: Entry,
  frame: Frame,
  cause: Cause.Cause<unknown>
): Effect.fn.Return<never, unknown> {
  const { admission, request, saga } = entry
  const root = frame.root
  const failures = root.pivoted ? [yield* parkForward(entry, frame, cause)] : yield* undo(frame, cause)
  const all = [...root.failures, ...failures]
  yield* Effect.catch(admission.commit(failureEnding(saga, root, cause, all)), (error) =>
    Effect.logWarning("the end of a failed saga could not be stored", error)
  )
  if (all.length === 0) return yield* Effect.failCause(cause)
  return yield* new CompensationError({
    saga: saga.name,
    sagaId: request.sagaId,
    cause: Cause.squash(cause),
    failures: all.map((failure) => ({ ...failure, cause: Cause.squash(failure.cause) }))
  })
})

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

/** `run` failed past the point of no return: what it did stays, and the rest is for a redrive. */
const parkForward = Effect.fnUntraced(function* (entry: Entry, frame: Frame, cause: Cause.Cause<unknown>) {
  const outcomes: Array<unknown> = []
  for (const call of frame.calls) {
    if (isNested(call) || Option.isNone(call.output)) continue
    const output = yield* encoded(call.definition.output, call.output.value)
    outcomes.push({ step: call.path, call: call.number, output })
  }
  const deadLetterId = yield* park(frame.root, {
    kind: "forward",
    path: "",
    call: frame.root.nextCall,
    input: entry.payload,
    inputSchema: entry.saga.payload,
    cause,
    metadata: { outcomes }
  })
  return { step: "", deadLetterId, cause } satisfies Failure
})

/** The owner of an open saga is gone and left no journal: what it did is not known, and somebody has to look. */
const parkAbandoned = (root: Root, mark: OpenMark) =>
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
