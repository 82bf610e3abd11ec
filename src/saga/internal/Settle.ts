/** Bringing a saga whose owner is gone to its end: undone, or resumed past its point of no return. */
import { Cause, Effect, Exit, Schema } from "effect"
import { isPivoted, type Journal } from "../../schema/Journal.ts"
import type { JournalError } from "../../schema/JournalError.ts"
import type { Lease } from "../../services/DistributedLock.ts"
import type { IdempotencyRequest } from "../../services/Idempotency.ts"
import { SagaGuard } from "../../services/SagaGuard.ts"
import type { JournalEnd, SagaJournal } from "../../services/SagaJournal.ts"
import { type BooksError, makeBooks } from "./Books.ts"
import { closeBooks } from "./Close.ts"
import { decodeJson, problemOf } from "./Codec.ts"
import { successEnding } from "./Ending.ts"
import { advance } from "./Fences.ts"
import { ReplayDiffers, type Root } from "./Frame.ts"
import type { Known } from "./Known.ts"
import { outcomesOf } from "./Outcomes.ts"
import { parkForward } from "./Park.ts"
import { rebuild } from "./Rebuild.ts"
import { replayOf } from "./Replay.ts"
import { resume } from "./Resume.ts"
import { makeRoot, outermost } from "./Root.ts"
import type { Services } from "./Services.ts"
import { undo } from "./Undo.ts"

/** `undone` and `resumed` with or without dead letters; `passed`: another settles it; else why it could not be. */
export type Settled =
  | { readonly _tag: "Undone" | "Resumed"; readonly parked: number }
  | { readonly _tag: "Passed" }
  | { readonly _tag: "Stuck"; readonly problem: string }

const stuck = (problem: string): Settled => ({ _tag: "Stuck", problem })
const passed: Settled = { _tag: "Passed" }

/** The process that ran it is gone, or its lease is. */
export class OwnerGone extends Schema.TaggedError<OwnerGone>()("OwnerGone", { saga: Schema.String }) {
  override get message(): string {
    return `the process that ran ${this.saga} was gone before the saga ended`
  }
}

/** Under a lease on all of the saga's resources. */
export const settle = (
  journal: SagaJournal,
  found: Journal,
  known: Known | string,
  lease: Lease
): Effect.Effect<Settled, never, Services> => {
  const settling: Effect.Effect<Settled, never, Services> =
    typeof known === "string"
      ? Effect.succeed(stuck(known))
      : known.services === undefined
        ? settleKnown(journal, found, known, lease)
        : Effect.provideContext(settleKnown(journal, found, known, lease), known.services)
  return Effect.tap(settling, (settled) =>
    settled._tag === "Stuck"
      ? Effect.andThen(
          Effect.logWarning(`${found.saga} ${found.sagaId} cannot be settled: ${settled.problem}`),
          Effect.ignore(journal.note(found, settled.problem))
        )
      : Effect.void
  ).pipe(Effect.annotateLogs({ saga: found.saga, sagaId: found.sagaId, resource: found.resources.join(",") }))
}

/** From the claim on nobody else writes the journal, and the old owner starts nothing any more. */
const settleKnown = (
  journal: SagaJournal,
  found: Journal,
  known: Known,
  lease: Lease
): Effect.Effect<Settled, never, Services> =>
  Effect.gen(function* () {
    const fence = yield* advance(lease, found.owner + 1)
    if (!(yield* journal.claim(found, found.owner, fence))) return passed
    const entry = yield* journal.get(found.sagaId)
    if (entry === undefined || entry.status === "finished") return passed
    const replay = replayOf(entry)
    const root = yield* makeRoot(known.saga, {
      sagaId: entry.sagaId,
      resources: entry.resources,
      fence: isPivoted(entry.records) ? ownFence(entry) : fence,
      freshFence: (atLeast) => advance(lease, atLeast),
      books: makeBooks(journal, entry, fence, undefined),
      replay
    })
    return replay === undefined
      ? yield* undoJournaled(root, known, entry)
      : yield* resumeJournaled(root, known, entry, lease)
  }).pipe(
    Effect.catch((error) => Effect.succeed(stuck(error.message))),
    Effect.uninterruptible
  )

/** The highest that its calls carried: undoing a nested saga raises it. */
const ownFence = (entry: Journal): number =>
  Math.max(entry.fence, ...entry.records.map((record) => (record._tag === "Started" ? record.fence : 0)))

const undoJournaled = Effect.fnUntraced(function* (
  root: Root,
  { saga }: Known,
  entry: Journal
): Effect.fn.Return<Settled, BooksError, Services> {
  root.closed = true
  const frame = outermost(root, saga)
  const problem = rebuild(frame, entry.records)
  if (problem !== undefined) return stuck(problem)
  if (!(yield* root.books.write({ _tag: "Undoing" }))) return passed
  const failures = yield* undo(frame, Cause.fail(new OwnerGone({ saga: entry.saga })))
  const hasLetters = failures.length > 0 || entry.records.some((record) => record._tag === "Parked")
  const outcome = hasLetters ? "parked" : "undone"
  return yield* close(root, entry, { outcome, result: null }, hasLetters, "Undone")
})

const resumeJournaled = Effect.fnUntraced(function* (
  root: Root,
  { saga }: Known,
  entry: Journal,
  lease: Lease
): Effect.fn.Return<Settled, JournalError, Services> {
  const payload = decodeJson(saga.payload, entry.payload)
  if (Exit.isFailure(payload)) return stuck(`its payload does not fit its schema: ${problemOf(payload)}`)
  const frame = outermost(root, saga)
  const exit = yield* resume(saga, payload.value, frame, lease)
  if (root.aborted !== undefined && !(root.aborted instanceof ReplayDiffers)) return stuck(root.aborted.message)
  const wasParked = entry.records.some((record) => record._tag === "Parked")
  if (Exit.isSuccess(exit) && root.aborted === undefined) {
    const ending = yield* successEnding(saga, root, exit.value)
    const result = ending._tag === "Result" ? ending.text : null
    return yield* close(root, entry, { outcome: "succeeded", result }, wasParked || root.parked.length > 0, "Resumed")
  }
  const cause = root.aborted === undefined && Exit.isFailure(exit) ? exit.cause : Cause.fail(root.aborted)
  yield* parkForward(frame, saga.payload, payload.value, outcomesOf(frame, entry.records, cause), cause)
  return yield* close(root, entry, { outcome: "parked", result: null }, true, "Resumed")
})

/** The journal first, then what a repeat is served from. */
const close = Effect.fnUntraced(function* (
  root: Root,
  entry: Journal,
  end: JournalEnd,
  hasLetters: boolean,
  done: "Undone" | "Resumed"
): Effect.fn.Return<Settled, never, Services> {
  const closing = yield* closeBooks(root, end, hasLetters)
  if (closing === "refused") return passed
  if (closing === "unknown") return stuck("its end could not be journaled")
  if (closing === "spooled") return stuck("its dead letters are still in the spool")
  const guard = yield* SagaGuard
  yield* guard.finish(
    requestOf(entry),
    entry.fence,
    end.result === null ? { _tag: "Nothing" } : { _tag: "Result", text: end.result }
  )
  return { _tag: done, parked: hasLetters ? 1 : 0 }
})

const requestOf = (entry: Journal): IdempotencyRequest => ({
  saga: entry.saga,
  sagaId: entry.sagaId,
  key: entry.key,
  derived: entry.derived,
  fingerprint: entry.fingerprint,
  resources: entry.resources,
  journaled: true
})
