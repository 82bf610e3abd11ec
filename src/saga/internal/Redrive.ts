/** Running one dead letter again: the compensation or retriable step it names, under its resources' lock. */
import { Cause, DateTime, Duration, Effect, Exit, Option, Schema } from "effect"
import { CircuitBreakerError } from "effect/persistence/CircuitBreaker"
import type { DeadLetter } from "../../schema/DeadLetter.ts"
import { JournalRecord, journaledCalls } from "../../schema/Journal.ts"
import type { LockError } from "../../schema/LockError.ts"
import { DistributedLock, type Lease } from "../../services/DistributedLock.ts"
import { SagaJournal } from "../../services/SagaJournal.ts"
import { attempts } from "./Attempts.ts"
import { makeBooks } from "./Books.ts"
import { decodeJson, problemOf } from "./Codec.ts"
import type { Definition, RetriableStep, UndoableStep } from "./Definition.ts"
import { advance } from "./Fences.ts"
import { ReplayDiffers, type Root, refusedFloor } from "./Frame.ts"
import { findKnown, versionOf } from "./Known.ts"
import { makeReplay } from "./Replay.ts"
import type { SagaDefinition } from "./Request.ts"
import { resume } from "./Resume.ts"
import { makeRoot, outermost } from "./Root.ts"
import type { Services } from "./Services.ts"
import { settle } from "./Settle.ts"
import { undoCall } from "./Undo.ts"

export type Redriven =
  | { readonly _tag: "Resolved"; readonly notes: string }
  | { readonly _tag: "Failed"; readonly error: unknown }
  /** It was no try: it has to wait for something. */
  | { readonly _tag: "Waiting"; readonly problem: string; readonly dueAt: DateTime.Utc }
  /** As things are it can never be redriven by this program. */
  | { readonly _tag: "Impossible"; readonly problem: string }

const resolved = (notes: string): Redriven => ({ _tag: "Resolved", notes })
const impossible = (problem: string): Redriven => ({ _tag: "Impossible", problem })
const waiting = (problem: string, delay: Duration.Input): Effect.Effect<Redriven> =>
  Effect.map(DateTime.now, (now) => ({
    _tag: "Waiting",
    problem,
    dueAt: DateTime.addDuration(now, Duration.fromInputUnsafe(delay))
  }))

/** Nothing is tried under a version or a schema that is not the letter's own. */
export const redriveLetter = (
  sagas: ReadonlyArray<SagaDefinition>,
  letter: DeadLetter
): Effect.Effect<Redriven, never, Services> => {
  const named = sagas.find((saga) => saga.name === letter.saga)
  if (named === undefined) return Effect.succeed(impossible(`the saga ${letter.saga} is not among those given`))
  const saga = versionOf(named, letter.sagaVersion)
  if (saga === undefined) {
    return Effect.succeed(
      impossible(`version ${letter.sagaVersion} of ${letter.saga} is not known: give it to Saga.make in previous`)
    )
  }
  const work = workOf(saga, letter)
  if (typeof work === "string") return Effect.succeed(impossible(work))
  return Effect.flatMap(DistributedLock, (lock) =>
    lock.withLock(...letter.resources)((lease) =>
      Effect.flatMap(settleFirst(sagas, letter, lease), (problem) =>
        problem === undefined ? work(lease) : waiting(problem, "30 seconds")
      )
    )
  ).pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterrupts(cause)
        ? Effect.interrupt
        : Option.match(Cause.findErrorOption(cause), {
            onNone: () => Effect.succeed<Redriven>({ _tag: "Failed", error: Cause.squash(cause) }),
            // Held by another, or not to be had: no try.
            onSome: (error) => waiting(error.message, "5 seconds")
          })
    ),
    Effect.annotateLogs({ saga: letter.saga, sagaId: letter.sagaId, deadLetter: letter.id, step: letter.step })
  )
}

/** Whoever is admitted to a resource settles its unfinished sagas first. */
const settleFirst = Effect.fnUntraced(function* (
  sagas: ReadonlyArray<SagaDefinition>,
  letter: DeadLetter,
  lease: Lease
): Effect.fn.Return<string | undefined, never, Services> {
  const journal = yield* SagaJournal
  if (!journal.keeps) return undefined
  for (const resource of letter.resources) {
    for (const status of ["running", "compensating"] as const) {
      const open = yield* Effect.result(journal.list({ resource, status }))
      if (open._tag === "Failure") return open.failure.message
      for (const found of [...open.success].sort((a, b) => b.fence - a.fence)) {
        const settled = yield* settle(journal, found, findKnown(journal, sagas, found.saga, found.version), lease)
        if (settled._tag === "Stuck") return `${found.saga} ${found.sagaId} is unfinished: ${settled.problem}`
        if (settled._tag === "Passed") return `${found.saga} ${found.sagaId} is being settled`
      }
    }
  }
  return undefined
})

type Work = (lease: Lease) => Effect.Effect<Redriven, LockError, Services>

/** What is to be done; or why it cannot. */
const workOf = (saga: SagaDefinition, letter: DeadLetter): Work | string => {
  if (letter.kind === "abandoned") {
    return "no journal tells what it did: compare the stores, then resolve or discard it by hand"
  }
  if (letter.kind === "forward") return forward(saga, letter)
  const step = stepAt(saga.steps, letter.step)
  if (step === undefined) return `${letter.saga} has no step ${letter.step}`
  const input = decodeJson(step.input, letter.input)
  if (Exit.isFailure(input)) return `its input does not fit the schema of ${letter.step}: ${problemOf(input)}`
  if (letter.kind === "retriable") {
    return step._tag === "Retriable" ? retriable(step, letter, input.value) : `${letter.step} is not retriable any more`
  }
  return step._tag === "Undoable" ? compensation(step, letter, input.value) : `${letter.step} cannot be undone any more`
}

/** Through the nested sagas: "Outer/step". A name may hold a slash itself. */
const stepAt = (steps: ReadonlyMap<string, Definition>, path: string): UndoableStep | RetriableStep | undefined => {
  const direct = steps.get(path)
  if (direct !== undefined && direct._tag !== "Nested") return direct
  for (const [name, definition] of steps) {
    if (definition._tag !== "Nested" || !path.startsWith(`${name}/`)) continue
    const found = stepAt(definition.steps, path.slice(name.length + 1))
    if (found !== undefined) return found
  }
  return undefined
}

const rootOf = (letter: DeadLetter, fence: number, lease: Lease, rest: Partial<Root> = {}) =>
  Effect.map(
    Effect.flatMap(SagaJournal, (journal) =>
      makeRoot(
        { name: letter.saga, version: letter.sagaVersion },
        {
          sagaId: letter.sagaId,
          resources: letter.resources,
          fence,
          freshFence: (atLeast) => advance(lease, atLeast),
          // Its journal is closed: the letter is what is left of it.
          books: { ...makeBooks(journal, letter, fence, undefined), keeps: false },
          replay: undefined
        }
      )
    ),
    // One try a claim: the queue decides when the next is due.
    (root): Root => ({ ...root, settings: { ...root.settings, retries: false }, ...rest })
  )

/** Undone under a fresh fence; the store knows by saga id and call whether the write is still there. */
const compensation = (step: UndoableStep, letter: DeadLetter, input: unknown): Work | string => {
  const before = decodeJson(step.before, letter.before)
  if (Exit.isFailure(before)) return `its before-image does not fit the schema: ${problemOf(before)}`
  const known = Schema.decodeUnknownOption(OutputKnown)(letter.metadata)
  const output =
    Option.isSome(known) && known.value.outputKnown
      ? Exit.map(decodeJson(step.output, letter.output), Option.some)
      : Exit.succeed(Option.none())
  if (Exit.isFailure(output)) return `its output does not fit the schema: ${problemOf(output)}`
  return Effect.fnUntraced(function* (lease) {
    const root = yield* rootOf(letter, yield* advance(lease, 0), lease)
    const call = {
      number: letter.call,
      path: letter.step,
      definition: step,
      input,
      before: before.value,
      output: output.value,
      touched: true,
      attempts: 0,
      failure: undefined,
      finished: undefined
    }
    const cause = Cause.fail(new Error(`${letter.errorType}: ${letter.errorMessage}`))
    return yield* outcome(undoCall(root, call, cause), "undone")
  })
}

const OutputKnown = Schema.Struct({ outputKnown: Schema.Boolean })

/** It writes with its own saga's fence, so that what is newer stays. */
const retriable =
  (step: RetriableStep, letter: DeadLetter, input: unknown): Work =>
  (lease) =>
    Effect.flatMap(rootOf(letter, letter.fence, lease), (root) =>
      outcome(
        attempts({
          root,
          definition: step,
          number: letter.call,
          kind: "execute",
          limit: step.timeout ?? root.settings.stepTimeout,
          millis: step.timeoutMillis ?? root.stepMillis,
          retry: root.settings.stepRetry,
          effect: () => step.execute(input)
        }),
        "done"
      )
    )

const Forward = Schema.Struct({ records: Schema.Array(JournalRecord) })

/** `run` again, with the outcomes that the letter kept. */
const forward = (saga: SagaDefinition, letter: DeadLetter): Work | string => {
  const payload = decodeJson(saga.payload, letter.input)
  if (Exit.isFailure(payload)) return `its payload does not fit the schema: ${problemOf(payload)}`
  const kept = Schema.decodeUnknownExit(Forward)(letter.metadata)
  if (Exit.isFailure(kept)) return `its outcomes cannot be read: ${problemOf(kept)}`
  const replay = makeReplay(journaledCalls(kept.value.records))
  return Effect.fnUntraced(function* (lease) {
    const root = yield* rootOf(letter, letter.fence, lease, { replay, nextCall: replay.nextCall })
    const exit = yield* Effect.uninterruptible(resume(saga, payload.value, outermost(root, saga), lease))
    if (root.aborted instanceof ReplayDiffers) return impossible(root.aborted.message)
    if (root.aborted !== undefined) return yield* waiting(root.aborted.message, "5 seconds")
    return yield* outcome(exit, "brought to its end")
  })
}

/** A higher floor means that something newer is there: nothing is left to do. */
const outcome = (effect: Effect.Effect<unknown, unknown>, done: string): Effect.Effect<Redriven> =>
  Effect.matchCauseEffect(effect, {
    onSuccess: () => Effect.succeed(resolved(done)),
    onFailure: (cause) => {
      const error = Cause.squash(cause)
      if (refusedFloor(error) !== undefined) return Effect.succeed(resolved("superseded by a later saga"))
      if (error instanceof CircuitBreakerError && error.reason._tag === "CircuitOpen") {
        return waiting(error.message, error.reason.retryAfter)
      }
      return Effect.succeed<Redriven>({ _tag: "Failed", error })
    }
  })
