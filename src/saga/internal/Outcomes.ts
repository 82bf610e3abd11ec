/** The calls of a saga as journal records, for a dead letter that has them all. */
import { Cause, Option } from "effect"
import type { JournalRecord } from "../../schema/Journal.ts"
import { encodeOrText } from "./Codec.ts"
import { type Call, type Frame, isNested, type NestedCall, type RetriableCall } from "./Frame.ts"
import { failedRecord, intent } from "./Intent.ts"

/** With what earlier processes wrote down. The failure that ended `run` is left out: that call is to be tried again. */
export const outcomesOf = (
  frame: Frame,
  earlier: ReadonlyArray<JournalRecord>,
  cause: Cause.Cause<unknown>
): ReadonlyArray<JournalRecord> => {
  const { retriables, replay } = frame.root
  const fatal = Option.getOrUndefined(Cause.findErrorOption(cause))
  const again = fatal === undefined ? undefined : replay?.errors.get(fatal)
  const known = earlier.filter((record) => !(record._tag === "Failed" && record.call === again))
  const own = [...recordsOf(frame, fatal), ...retriables.flatMap((call) => retriable(frame, call))]
  return [...known, ...own.sort(byCall)]
}

const byCall = (a: JournalRecord, b: JournalRecord) => numberOf(a) - numberOf(b)
const numberOf = (record: JournalRecord) => (record._tag === "Undoing" ? -1 : record.call)

const recordsOf = (frame: Frame, fatal: unknown): ReadonlyArray<JournalRecord> =>
  frame.calls.flatMap((call) => [
    started(frame, call),
    ...outcome(call, fatal),
    ...(isNested(call) ? recordsOf(call.frame, fatal) : [])
  ])

const started = (frame: Frame, call: Call | NestedCall): JournalRecord =>
  isNested(call)
    ? intent(frame, call.definition, call.number, call.payload, undefined)
    : intent(frame, call.definition, call.number, call.input, call.before)

const outcome = (call: Call | NestedCall, fatal: unknown): ReadonlyArray<JournalRecord> => {
  if (Option.isSome(call.output) && call.finished !== undefined) {
    const output = encodeOrText(call.definition.output, call.output.value)
    return [{ _tag: "Done", call: call.number, finished: call.finished, output }]
  }
  const error = call.failure === undefined ? Option.none() : Cause.findErrorOption(call.failure)
  if (Option.isSome(error) && error.value === fatal) return []
  const failed = failedRecord(call, isNested(call) || !call.touched)
  return failed === undefined ? [] : [failed]
}

const retriable = (frame: Frame, call: RetriableCall): ReadonlyArray<JournalRecord> => {
  const owner: Frame = { ...frame, call: call.parent, path: call.path.slice(0, -call.definition.name.length) }
  const begun = intent(owner, call.definition, call.number, call.input, undefined)
  return call.over ? [begun, { _tag: "Done", call: call.number, finished: 0, output: null }] : [begun]
}
