/** The calls of a saga as its journal tells them, ready to be undone. */
import { Exit, Option } from "effect"
import { type JournaledCall, type JournalRecord, journaledCalls } from "../../schema/Journal.ts"
import { decodeJson, problemOf } from "./Codec.ts"
import type { Call, Frame, NestedCall } from "./Frame.ts"

/** Fills the frame; or says what in the journal does not fit the steps as they are declared: then nothing is guessed. */
export const rebuild = (frame: Frame, records: ReadonlyArray<JournalRecord>): string | undefined => {
  const frames = new Map<number | null, Frame>([[null, frame]])
  for (const known of journaledCalls(records)) {
    const parent = frames.get(known.started.parent)
    if (parent === undefined) return `its call ${known.started.call} belongs to none`
    const call = callOf(parent, known)
    if (typeof call === "string") return call
    parent.calls.push(call)
    if ("frame" in call) frames.set(call.number, call.frame)
  }
  return undefined
}

const callOf = (parent: Frame, { done, failed, settled, started }: JournaledCall): Call | NestedCall | string => {
  const { call: number, path } = started
  const definition = parent.steps.get(path.slice(parent.path.length))
  if (definition === undefined) return `it has no step ${path} any more`
  const finished = done?.finished
  if (definition._tag === "Nested") {
    const frame: Frame = { root: parent.root, call: number, path: `${path}/`, steps: definition.steps, calls: [] }
    return { number, path, definition, payload: undefined, frame, output: Option.none(), failure: undefined, finished }
  }
  if (definition._tag === "Retriable") return `${path} cannot be undone any more`
  const input = decodeJson(definition.input, started.input)
  if (Exit.isFailure(input)) return `the input of ${path} does not fit its schema: ${problemOf(input)}`
  const before = decodeJson(definition.before, started.before)
  if (Exit.isFailure(before)) return `the before-image of ${path} does not fit its schema: ${problemOf(before)}`
  const output = done === undefined ? undefined : decodeJson(definition.output, done.output)
  if (output !== undefined && Exit.isFailure(output)) {
    return `the output of ${path} does not fit its schema: ${problemOf(output)}`
  }
  return {
    number,
    path,
    definition,
    input: input.value,
    before: before.value,
    output: output === undefined ? Option.none() : Option.some(output.value),
    touched: !settled && failed?.untouched !== true,
    attempts: 0,
    failure: undefined,
    finished
  }
}
