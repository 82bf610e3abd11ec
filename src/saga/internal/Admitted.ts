/**
 * The run of an admitted saga and its end. Its journal is opened before its first call; what stands in the way of that is
 * settled first.
 */
import { Cause, type Context, Effect, Exit, type Scope } from "effect"
import type { Journal, JournalRecord, NewJournal } from "../../schema/Journal.ts"
import type { JournalError } from "../../schema/JournalError.ts"
import { LockError, ResourceUnsettled } from "../../schema/LockError.ts"
import type { Restore } from "../../services/SagaGuard.ts"
import type { SagaJournal } from "../../services/SagaJournal.ts"
import { runBody } from "./Body.ts"
import { makeBooks, type Unopened } from "./Books.ts"
import { type Admitted, commitSuccess, endFailure, type Receipt } from "./Ending.ts"
import { advance, fenceSource } from "./Fences.ts"
import type { Frame, Root } from "./Frame.ts"
import { findKnown } from "./Known.ts"
import { parkAbandoned } from "./Park.ts"
import { type Request, readRecord, type SagaDefinition } from "./Request.ts"
import { outermost, rootIn } from "./Root.ts"
import type { Services } from "./Services.ts"
import { settle } from "./Settle.ts"
import type { Surroundings } from "./Surroundings.ts"

/** Who asks to be admitted. */
export interface Entering<A> {
  readonly saga: SagaDefinition
  readonly payload: unknown
  readonly request: Request
  /** What the saga's steps see. */
  readonly context: Context.Context<Services>
  /** Of whoever asks. */
  readonly surroundings: Surroundings
  /** Closed when the execution has ended. */
  readonly scope: () => Scope.Scope
  readonly restore: Restore
  /** What of its receipt is asked for. */
  readonly as: (receipt: Receipt<unknown>) => A
}

interface Entry<A> extends Entering<A>, Admitted {}

/** Must be called uninterruptible; only the run itself is restored. */
export const runAdmitted = <A>(entry: Entry<A>): Effect.Effect<A, unknown, Services> => {
  const { admission, context, payload, request, restore, saga, scope, surroundings } = entry
  const { journal } = surroundings
  const { lease } = admission
  const opening: Unopened["open"] = (records) => open(entry, journal, records, root)
  const root: Root = rootIn(surroundings, saga, {
    sagaId: request.sagaId,
    resources: request.resources,
    fence: lease.fence,
    freshFence: fenceSource(surroundings.lock, lease, request.resources, scope),
    books: makeBooks(journal, request, lease.fence, journal.keeps ? { open: opening } : undefined),
    replay: undefined
  })
  const frame = outermost(root, saga)
  const run = () => runBody(saga, payload, frame, lease, context, restore, (exit) => ended(entry, frame, exit))
  return admission.abandoned.length === 0
    ? run()
    : Effect.flatMap(afterOthers(entry, root, journal), (served) =>
        served === undefined ? run() : Effect.succeed(entry.as(served))
      )
}

const ended = <A>(
  entry: Entry<A>,
  frame: Frame,
  exit: Exit.Exit<unknown, unknown>
): Effect.Effect<A, unknown, Services> => {
  const { root } = frame
  if (!root.books.isOpen()) {
    return Effect.andThen(
      openAtEnd(entry, root, exit),
      Effect.suspend(() => ended(entry, frame, exit))
    )
  }
  if (root.aborted !== undefined) return endFailure(entry, frame, Cause.fail(root.aborted))
  return Exit.isSuccess(exit) ? commitSuccess(entry, frame, exit.value, entry.as) : endFailure(entry, frame, exit.cause)
}

/** Sagas whose owner is gone were open on the resources: one may be this very request, which had ended then. */
const afterOthers = Effect.fnUntraced(function* (entry: Entry<unknown>, root: Root, journal: SagaJournal) {
  const served = journal.keeps ? yield* servedBefore(entry, journal) : undefined
  if (served !== undefined) return served
  for (const mark of entry.admission.abandoned) {
    // A journal that does not know it says that nothing of it ran.
    if (!mark.journaled || !journal.keeps) yield* parkAbandoned(root, mark)
  }
  return undefined
})

/**
 * A request of the caller's key that ended, as its journal says, in a process that died before the result was recorded:
 * it is recorded now, and served.
 */
const servedBefore = Effect.fnUntraced(function* (
  { admission, request, saga }: Entry<unknown>,
  journal: SagaJournal
): Effect.fn.Return<Receipt<unknown> | undefined, JournalError> {
  if (request.derived) return undefined
  for (const mark of admission.abandoned) {
    const ended = mark.journaled ? yield* journal.get(mark.sagaId) : undefined
    if (ended === undefined || ended.result === null || ended.saga !== saga.name || ended.key !== request.key) continue
    const record = ended.fingerprint === request.fingerprint ? readRecord(saga, ended.result) : undefined
    if (record?._tag !== "Success") continue
    const recorded = yield* Effect.orElseSucceed(admission.commit({ _tag: "Result", text: ended.result }), () => false)
    return { sagaId: record.sagaId, value: record.value, replayed: true, recorded, parked: [] }
  }
  return undefined
})

/** No call has begun, so when the journal cannot be opened there is nothing to undo, and the mark goes. */
const openAtEnd = Effect.fnUntraced(function* (
  { admission }: Entry<unknown>,
  root: Root,
  exit: Exit.Exit<unknown, unknown>
): Effect.fn.Return<void, unknown> {
  const problem =
    root.aborted ?? (yield* Effect.match(root.books.ready, { onFailure: (error) => error, onSuccess: () => undefined }))
  if (problem === undefined) return
  yield* Effect.ignore(admission.commit({ _tag: "Nothing" }))
  return yield* Exit.isFailure(exit) && root.aborted === undefined ? Effect.failCause(exit.cause) : Effect.fail(problem)
})

/** The admitted saga's journal, under this fence. */
const journalOf = ({ request, saga }: Admitted, fence: number): NewJournal => {
  const { derived, encoded: payload, fingerprint, key, resources, sagaId } = request
  return { sagaId, saga: saga.name, version: saga.version, resources, fence, key, derived, fingerprint, payload }
}

interface Opened {
  readonly fence: number
  /** Whether the records went with it. */
  readonly written: boolean
}

/** Mostly nothing is in its way: then the fence is that of the lease, and no context is made for settling that. */
const open = (
  entry: Entry<unknown>,
  journal: SagaJournal,
  records: ReadonlyArray<JournalRecord>,
  root: Root
): Effect.Effect<Opened, LockError | JournalError> => {
  const { fence } = entry.admission.lease
  return Effect.flatMap(journal.open(journalOf(entry, fence), records), (inTheWay) =>
    inTheWay.length === 0
      ? Effect.succeed({ fence, written: true })
      : Effect.map(Effect.provideContext(openAfter(entry, journal, inTheWay), entry.context), (opened) => {
          root.fence = opened.fence
          return opened
        })
  )
}

/** Settles what stands in the way; opened with a fence above all that this has used. */
const openAfter = Effect.fnUntraced(function* (
  entry: Entry<unknown>,
  journal: SagaJournal,
  first: ReadonlyArray<Journal>
): Effect.fn.Return<Opened, LockError | JournalError, Services> {
  const { admission, request, saga: own } = entry
  const { lease } = admission
  let inTheWay = first
  for (let round = 1; ; round++) {
    for (const other of inTheWay) {
      const settled = yield* settle(journal, other, findKnown(journal, [own], other.saga, other.version), lease)
      if (settled._tag === "Passed" && round < 3) break
      // Older ones would be undone out of order.
      if (settled._tag === "Stuck" || settled._tag === "Passed") {
        const sagaIds = inTheWay.map((one) => one.sagaId)
        return yield* new LockError({
          reason: new ResourceUnsettled({ resource: request.resources.join(", "), sagaIds })
        })
      }
    }
    const fence = yield* advance(lease, 0)
    inTheWay = yield* journal.open(journalOf(entry, fence))
    if (inTheWay.length === 0) return { fence, written: false }
  }
})
