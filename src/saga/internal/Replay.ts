/** What the journal knows of a call that `run` makes again: a saga past its point of no return is brought to its end. */
import canonicalize from "canonicalize"
import { Exit } from "effect"
import { isPivoted, type Journal, type JournaledCall, journaledCalls } from "../../schema/Journal.ts"
import { decodeJson, encodeJson, failureOf, problemOf } from "./Codec.ts"
import type { Definition } from "./Definition.ts"

/** Calls are matched by their name and by which of that name they are. */
export interface Replay {
  readonly next: (path: string) => JournaledCall | undefined
  /** Errors that were told again, by the call that failed with them. */
  readonly errors: Map<unknown, number>
  /** Above all numbers used. */
  readonly nextCall: number
}

export const makeReplay = (calls: ReadonlyArray<JournaledCall>): Replay => {
  const byPath = Map.groupBy(calls, (call) => call.started.path)
  const used = new Map<string, number>()
  return {
    next: (path) => {
      const ordinal = used.get(path) ?? 0
      used.set(path, ordinal + 1)
      return byPath.get(path)?.[ordinal]
    },
    errors: new Map(),
    nextCall: Math.max(-1, ...calls.map((call) => call.started.call)) + 1
  }
}

export const replayOf = (journal: Journal): Replay | undefined =>
  isPivoted(journal.records) ? makeReplay(journaledCalls(journal.records)) : undefined

export type Recalled =
  /** Never begun: it runs now. */
  | { readonly _tag: "New" }
  /** Begun, and nobody knows how it ended: it runs again under the same number, which its store recognises. */
  | { readonly _tag: "Again"; readonly call: number; readonly before: unknown }
  | { readonly _tag: "Ended"; readonly call: number; readonly exit: Exit.Exit<unknown, unknown> }
  /** It is not what was written down, and nothing is guessed. */
  | { readonly _tag: "Differs"; readonly problem: string }

const fresh: Recalled = { _tag: "New" }
const differs = (path: string, problem: string): Recalled => ({
  _tag: "Differs",
  problem: `run calls ${path} otherwise than the journal says: ${problem}`
})

export const recall = (replay: Replay, path: string, definition: Definition, input: unknown): Recalled => {
  const known = replay.next(path)
  if (known === undefined) return fresh
  const call = known.started.call
  const encoded = encodeJson(definition.input, input)
  if (Exit.isFailure(encoded)) return differs(path, problemOf(encoded))
  if (canonicalize(encoded.value) !== canonicalize(known.started.input)) return differs(path, "its input differs")
  if (definition._tag === "Retriable") {
    const over = known.done !== undefined || known.settled
    return over ? { _tag: "Ended", call, exit: Exit.void } : { _tag: "Again", call, before: undefined }
  }
  const { done, failed } = known
  if (done !== undefined) {
    const output = decodeJson(definition.output, done.output)
    return Exit.isSuccess(output) ? { _tag: "Ended", call, exit: output } : differs(path, problemOf(output))
  }
  if (failed !== undefined) {
    const error = decodeJson(failureOf(definition.error), failed.error)
    if (Exit.isFailure(error)) return differs(path, "it failed with what cannot be told again")
    replay.errors.set(error.value, call)
    return { _tag: "Ended", call, exit: Exit.fail(error.value) }
  }
  if (definition._tag === "Nested") return { _tag: "Again", call, before: undefined }
  const before = decodeJson(definition.before, known.started.before)
  return Exit.isSuccess(before) ? { _tag: "Again", call, before: before.value } : differs(path, problemOf(before))
}
