/** What is written down of a call: its intent before it starts, and how it failed. */
import { Cause, Effect, Exit, Option } from "effect"
import type { JournalRecord } from "../../schema/Journal.ts"
import { LockError, LockLost } from "../../schema/LockError.ts"
import { encodeJson, encodeOrText, failureOf } from "./Codec.ts"
import type { Definition, Erased, UndoableStep } from "./Definition.ts"
import type { Call, Frame, NestedCall, Root } from "./Frame.ts"

export const intent = (
  frame: Frame,
  definition: Definition,
  call: number,
  input: unknown,
  before: unknown
): JournalRecord => ({
  _tag: "Started",
  call,
  parent: frame.call,
  kind: definition._tag === "Undoable" ? "undoable" : definition._tag === "Retriable" ? "retriable" : "nested",
  path: frame.path + definition.name,
  fence: frame.root.fence,
  input: encodeOrText(definition.input, input),
  before: hasBefore(definition) ? encodeOrText(definition.before, before) : null
})

const hasBefore = (definition: Definition): definition is UndoableStep =>
  definition._tag === "Undoable" && definition.prepare !== undefined

/** Unless the journal is surely open, the call does not start and the saga ends. */
export const opened = (root: Root): Effect.Effect<void> =>
  Effect.catch(root.books.ready, (error) => {
    root.aborted = error
    return Effect.interrupt
  })

/** `then` follows. Unless it is surely written, the call does not start and the saga ends. To be called when it is to be. */
export const intend = (root: Root, record: JournalRecord, then: () => Erased): Erased =>
  Effect.matchEffect(root.books.write(record), {
    onSuccess: (written): Erased => {
      if (written) return then()
      root.aborted = journalLost(root)
      return Effect.interrupt
    },
    onFailure: (error) => {
      root.aborted = error
      return Effect.interrupt
    }
  })

/** From here on recovery brings the saga to its end: undoing must not begin while it is not known if this is written. */
export const pivot = (root: Root, record: JournalRecord): Effect.Effect<void> => {
  const before = root.pivotUnknown
  return Effect.suspend(() => {
    root.pivotUnknown = true
    return Effect.matchEffect(root.books.write(record), {
      onSuccess: (written) => {
        root.pivotUnknown = before
        if (written) {
          root.pivoted = true
          return Effect.void
        }
        root.aborted = journalLost(root)
        return Effect.interrupt
      },
      onFailure: (error) => {
        root.aborted = error
        return Effect.interrupt
      }
    })
  }).pipe(Effect.uninterruptible)
}

/** Another settles the saga: its owner must have been gone for longer than the lease. */
export const journalLost = (root: Root) =>
  new LockError({ reason: new LockLost({ resource: root.resources.join(", "), fence: root.fence }) })

/** An interrupted call, or one that died, has no outcome that `run` could be given again. */
export const failedRecord = (call: Call | NestedCall, untouched: boolean): JournalRecord | undefined => {
  const error = call.failure === undefined ? Option.none() : Cause.findErrorOption(call.failure)
  if (Option.isNone(error)) return untouched ? { _tag: "Failed", call: call.number, untouched, error: null } : undefined
  const encoded = encodeJson(failureOf(call.definition.error), error.value)
  return { _tag: "Failed", call: call.number, untouched, error: Exit.isSuccess(encoded) ? encoded.value : null }
}

/** Encoded only if somebody keeps it. */
export const noteDone = (root: Root, call: Call | NestedCall, value: unknown): void => {
  const finished = root.nextFinished++
  call.finished = finished
  if (!root.books.keeps) return
  const output = encodeOrText(call.definition.output, value)
  root.books.note({ _tag: "Done", call: call.number, finished, output })
}

export const noteFailed = (root: Root, call: Call | NestedCall, untouched: boolean): void => {
  const record = root.books.keeps ? failedRecord(call, untouched) : undefined
  if (record !== undefined) root.books.note(record)
}
