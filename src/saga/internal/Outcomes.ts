/** The calls of a saga as journal records, for a dead letter that has them all. */
import { Option } from "effect"
import type { JournalRecord } from "../../schema/Journal.ts"
import { encodeOrText } from "./Codec.ts"
import { type Call, type Frame, isNested, type NestedCall, type RetriableCall } from "./Frame.ts"
import { failedRecord, intent } from "./Intent.ts"

export const outcomesOf = (frame: Frame): ReadonlyArray<JournalRecord> =>
  [...recordsOf(frame), ...frame.root.retriables.flatMap((call) => retriable(frame, call))].sort(byCall)

const byCall = (a: JournalRecord, b: JournalRecord) => numberOf(a) - numberOf(b)
const numberOf = (record: JournalRecord) => (record._tag === "Undoing" ? -1 : record.call)

const recordsOf = (frame: Frame): ReadonlyArray<JournalRecord> =>
  frame.calls.flatMap((call) => [
    started(frame, call),
    ...outcome(call),
    ...(isNested(call) ? recordsOf(call.frame) : [])
  ])

const started = (frame: Frame, call: Call | NestedCall): JournalRecord =>
  isNested(call)
    ? intent(frame, call.definition, call.number, call.payload, undefined)
    : intent(frame, call.definition, call.number, call.input, call.before)

const outcome = (call: Call | NestedCall): ReadonlyArray<JournalRecord> => {
  if (Option.isSome(call.output) && call.finished !== undefined) {
    const output = encodeOrText(call.definition.output, call.output.value)
    return [{ _tag: "Done", call: call.number, finished: call.finished, output }]
  }
  const failed = failedRecord(call, isNested(call) || !call.touched)
  return failed === undefined ? [] : [failed]
}

const retriable = (frame: Frame, call: RetriableCall): ReadonlyArray<JournalRecord> => {
  const owner: Frame = { ...frame, call: call.parent, path: call.path.slice(0, -call.definition.name.length) }
  const begun = intent(owner, call.definition, call.number, call.input, undefined)
  return call.over ? [begun, { _tag: "Done", call: call.number, finished: 0, output: null }] : [begun]
}
