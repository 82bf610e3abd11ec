/**
 * What a saga's journal says of it: who it is, what it began, what became of each call, how it ended. Enough for
 * another process to undo it or to bring it to its end.
 */
import { Schema } from "effect"

/** The saga ended nowhere yet, is being undone, or has ended. */
export const SagaStatus = Schema.Literals(["running", "compensating", "finished"])

/**
 * How a saga ended. `succeeded`; `undone`: as if it had never run; `parked`: dead letters explain what is left of it.
 */
export const SagaOutcome = Schema.Literals(["succeeded", "undone", "parked"])

/** What is written down, in this order, each before what follows from it may happen. */
export const JournalRecord = Schema.Union([
  /** The intent: written before the call's first attempt, with its before-image. Values are in encoded form. */
  Schema.TaggedStruct("Started", {
    call: Schema.Int,
    /** The call of the nested saga it belongs to; `null`: the saga's own. */
    parent: Schema.NullOr(Schema.Int),
    kind: Schema.Literals(["undoable", "retriable", "nested"]),
    /** The step's name, below those of the nested sagas around it: "Outer/step". */
    path: Schema.String,
    /** What the call's writes carry: undoing a nested saga raises it. */
    fence: Schema.Int,
    input: Schema.Unknown,
    before: Schema.Unknown
  }),
  /** `finished` counts the calls of the saga in the order in which they ended. */
  Schema.TaggedStruct("Done", { call: Schema.Int, finished: Schema.Int, output: Schema.Unknown }),
  /** `untouched`: every attempt proved that the store has nothing of it. `error` is `null` if it cannot be encoded. */
  Schema.TaggedStruct("Failed", { call: Schema.Int, untouched: Schema.Boolean, error: Schema.Unknown }),
  /** From here on no call starts. */
  Schema.TaggedStruct("Undoing", {}),
  Schema.TaggedStruct("Undone", { call: Schema.Int }),
  /** A dead letter has it. */
  Schema.TaggedStruct("Parked", { call: Schema.Int })
])
export type JournalRecord = typeof JournalRecord.Type

/** One journal. */
export class Journal extends Schema.Class<Journal>("effect-saga/schema/Journal")({
  sagaId: Schema.String,
  saga: Schema.String,
  version: Schema.Int,
  resources: Schema.Array(Schema.String),
  /** What its writes carry. */
  fence: Schema.Int,
  /** The fence of whoever may write the journal: the saga's own lease, or that of who settles it. */
  owner: Schema.Int,
  status: SagaStatus,
  /** `null` until it has ended. */
  outcome: Schema.NullOr(SagaOutcome),
  /** Why it could not be settled when it was last tried; `null` if it was not tried or could be. */
  problem: Schema.NullOr(Schema.String),
  /** The idempotency key, and whether it is derived from the payload. */
  key: Schema.String,
  derived: Schema.Boolean,
  fingerprint: Schema.String,
  /** In encoded form. */
  payload: Schema.Unknown,
  /** The text of the recorded result; `null` if there is none. */
  result: Schema.NullOr(Schema.String),
  records: Schema.Array(JournalRecord),
  openedAt: Schema.DateTimeUtc,
  updatedAt: Schema.DateTimeUtc
}) {}

/** What opens a journal: the rest follows. */
export type NewJournal = Pick<
  Journal,
  "sagaId" | "saga" | "version" | "resources" | "fence" | "key" | "derived" | "fingerprint" | "payload"
>

/** Which journal is meant. The resources say where it is kept. */
export interface JournalRef {
  readonly sagaId: string
  readonly resources: ReadonlyArray<string>
}

export interface JournalFilter {
  /** `stuck`: not finished, and settling it failed. */
  readonly status?: Journal["status"] | "stuck"
  readonly resource?: string
  readonly saga?: string
  /** Only those opened before. */
  readonly before?: Journal["openedAt"]
  /** The saga id of the last journal of the page before: they come oldest first. */
  readonly after?: string
  /** At most this many; 100 unless said. */
  readonly limit?: number
}

/** The call with all that was written down of it. */
export interface JournaledCall {
  readonly started: Extract<JournalRecord, { readonly _tag: "Started" }>
  readonly done: Extract<JournalRecord, { readonly _tag: "Done" }> | undefined
  readonly failed: Extract<JournalRecord, { readonly _tag: "Failed" }> | undefined
  /** Undone or parked: nothing is left to do for it. */
  readonly settled: boolean
}

/** The calls of a journal in the order in which they started. */
export const journaledCalls = (records: ReadonlyArray<JournalRecord>): ReadonlyArray<JournaledCall> => {
  const calls = new Map<number, JournaledCall>()
  for (const record of records) {
    if (record._tag === "Undoing") continue
    if (record._tag === "Started") {
      // One that is begun again keeps what was known of it.
      if (!calls.has(record.call))
        calls.set(record.call, { started: record, done: undefined, failed: undefined, settled: false })
      continue
    }
    const call = calls.get(record.call)
    if (call === undefined) continue
    if (record._tag === "Done") calls.set(record.call, { ...call, done: record })
    else if (record._tag === "Failed") calls.set(record.call, { ...call, failed: record })
    else calls.set(record.call, { ...call, settled: true })
  }
  return [...calls.values()]
}

/**
 * Whether the saga had begun its first retriable step: it is brought to its end then, never undone. Undoing begins only
 * when none was, so an intent beside it was written in vain.
 */
export const isPivoted = (records: ReadonlyArray<JournalRecord>): boolean =>
  records.some((record) => record._tag === "Started" && record.kind === "retriable") &&
  !records.some((record) => record._tag === "Undoing")
