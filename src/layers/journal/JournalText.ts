/**
 * What a journal's store holds: records as the text of JSON. A value that the journal has already, as its payload or as an
 * earlier call's input, is not written again: steps mostly get the whole payload, and it may be large.
 *
 * A `Started` without `input` has the payload's; one with `inputOf` has that of the latest call of this number before it.
 */
import type { JournalRecord, JournalRef, NewJournal } from "../../schema/Journal.ts"
import { quoted } from "../../schema/Quoted.ts"
import { jsonText } from "../sql/Jsonb.ts"

type Started = Extract<JournalRecord, { readonly _tag: "Started" }>

interface Value {
  readonly json: unknown
  readonly text: string
}

/** Their texts, by call. */
type Inputs = ReadonlyArray<readonly [call: number, text: string]>

/** What is surely in one saga's journal. */
export interface Kept {
  readonly sagaId: string
  /** Under which it was opened, as a number and as text: the engine puts so long a number into words anew each time. */
  readonly fence: readonly [number, string]
  readonly payload: Value
  inputs: Inputs
}

export const kept = ({ fence, payload, sagaId }: Pick<NewJournal, "fence" | "payload" | "sagaId">): Kept => ({
  sagaId,
  fence: [fence, String(fence)],
  payload: { json: payload, text: jsonText(payload) },
  inputs: []
})

/** A fence as text. */
export const fenceText = (fence: number, has: Kept | undefined): string =>
  has?.fence[0] === fence ? has.fence[1] : String(fence)

/** Deeper, or a cycle, and their texts are compared. */
const DEEPEST = 16

const isPlain = (value: object): value is Readonly<Record<string, unknown>> =>
  Object.getPrototypeOf(value) === Object.prototype

/**
 * Whether both have the same text, where that is found out without writing it: mostly both are copies of one value, whose
 * strings are the same in memory. The same object proves nothing: it may have changed since it was written.
 */
const isCopy = (a: unknown, b: unknown, depth = 0): boolean => {
  if (typeof a !== "object" || a === null || typeof b !== "object" || b === null) return a === b
  if (a === b || depth === DEEPEST) return false
  if (Array.isArray(a)) return Array.isArray(b) && areCopies(a, b, depth + 1)
  if (!isPlain(a) || !isPlain(b) || "toJSON" in a) return false
  const ofA = Object.keys(a)
  const ofB = Object.keys(b)
  if (ofA.length !== ofB.length) return false
  let at = 0
  for (const key of ofA) if (key !== ofB[at++] || !isCopy(a[key], b[key], depth + 1)) return false
  return true
}

const areCopies = (a: ReadonlyArray<unknown>, b: ReadonlyArray<unknown>, depth: number): boolean => {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) {
    // A list's numbers become objects when they are handed on.
    if (typeof a[i] === "number" ? a[i] !== b[i] : !isCopy(a[i], b[i], depth)) return false
  }
  return true
}

/** Shorter ones are not worth it, and of the others a few must do: they are held while the saga runs. */
const WORTH = 256
const HELD = 4

export interface RecordsText {
  readonly text: string
  /** To be kept when the text was surely written. */
  readonly inputs: Inputs
}

export const recordsText = (records: ReadonlyArray<JournalRecord>, has: Kept | undefined): RecordsText => {
  const inputs: Array<readonly [number, string]> = []
  const inputOf = ({ call, input }: Started): string => {
    if (has !== undefined && isCopy(input, has.payload.json)) return ""
    const text = jsonText(input)
    if (has === undefined) return `,"input":${text}`
    if (text === has.payload.text) return ""
    const earlier = has.inputs.find(([, one]) => one === text)
    if (earlier !== undefined) return `,"inputOf":${earlier[0]}`
    if (text.length >= WORTH) inputs.push([call, text])
    return `,"input":${text}`
  }
  const textOf = (record: JournalRecord): string => {
    switch (record._tag) {
      case "Started": {
        const { before, call, fence, kind, parent, path } = record
        const head = `{"_tag":"Started","call":${call},"parent":${parent},"kind":"${kind}","path":${quoted(path)}`
        return `${head},"fence":${fenceText(fence, has)},"before":${jsonText(before)}${inputOf(record)}}`
      }
      case "Done":
        return `{"_tag":"Done","call":${record.call},"finished":${record.finished},"output":${jsonText(record.output)}}`
      case "Failed":
        return `{"_tag":"Failed","call":${record.call},"untouched":${record.untouched},"error":${jsonText(record.error)}}`
      default:
        return JSON.stringify(record)
    }
  }
  let text = "["
  for (const record of records) text += text === "[" ? textOf(record) : `,${textOf(record)}`
  return { text: `${text}]`, inputs }
}

export const keep = (has: Kept, { inputs }: RecordsText): void => {
  if (inputs.length > 0) has.inputs = [...has.inputs, ...inputs].slice(-HELD)
}

/** What the journals of sagas that run here have, for as long as somebody may write them. */
export interface KeptSagas {
  readonly of: (ref: JournalRef) => Kept | undefined
  readonly opened: (ref: JournalRef, has: Kept) => void
}

/** All that is asked of one saga is asked with the same list of resources. */
export const makeKeptSagas = (): KeptSagas => {
  const sagas = new WeakMap<JournalRef["resources"], Kept>()
  return {
    of: ({ resources, sagaId }) => {
      const found = sagas.get(resources)
      return found?.sagaId === sagaId ? found : undefined
    },
    opened: ({ resources }, has) => void sagas.set(resources, has)
  }
}

interface StoredStarted {
  readonly _tag: "Started"
  readonly call: number
  readonly input?: unknown
  readonly inputOf?: number
}

const isStarted = (record: unknown): record is StoredStarted =>
  typeof record === "object" && record !== null && "_tag" in record && record._tag === "Started"

/** The records of all the texts, as they were before they were written. */
export const recordsOf = (texts: ReadonlyArray<string>, payload: unknown): ReadonlyArray<unknown> => {
  const inputs = new Map<number, unknown>()
  const whole = (record: unknown): unknown => {
    if (!isStarted(record)) return record
    const { inputOf, ...rest } = record
    const input = "input" in record ? record.input : inputOf === undefined ? payload : inputs.get(inputOf)
    inputs.set(record.call, input)
    return { ...rest, input }
  }
  return texts.flatMap((text) => {
    const records: unknown = JSON.parse(text)
    return Array.isArray(records) ? records.map(whole) : [records]
  })
}
