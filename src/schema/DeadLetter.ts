/** What could not be undone or finished, with all that another process needs to do it later. */
import { Schema } from "effect"
import { derivedUuid } from "./Digest.ts"

export const DeadLetterKind = Schema.Literals(["compensation", "retriable", "forward", "verify", "abandoned"])
export const DeadLetterStatus = Schema.Literals(["pending", "retrying", "resolved", "discarded"])
export const DeadLetterPriority = Schema.Literals(["low", "medium", "high", "critical"])

export class DeadLetter extends Schema.Class<DeadLetter>("effect-saga/schema/DeadLetter")({
  /** UUID derived from saga id, call and kind: adding twice adds once, wherever it was spooled. */
  id: Schema.String,
  kind: DeadLetterKind,
  status: DeadLetterStatus,
  priority: DeadLetterPriority,
  database: Schema.String,
  operation: Schema.String,
  saga: Schema.String,
  sagaVersion: Schema.Int,
  sagaId: Schema.String,
  step: Schema.String,
  /** Which call of the saga, counted from 0. */
  call: Schema.Int,
  resources: Schema.Array(Schema.String),
  fence: Schema.Int,
  /** The step's input in its schema's encoded (JSON) form. */
  input: Schema.Unknown,
  /** The before-image, encoded; `null` if the step has none. */
  before: Schema.Unknown,
  /** The step's output, encoded; `null` if it is not known whether the step was applied. */
  output: Schema.Unknown,
  errorType: Schema.String,
  errorMessage: Schema.String,
  /** Whatever else explains it: attempts, the original failure, the outcomes so far. */
  metadata: Schema.Unknown,
  /** Claims so far, those that were no try taken off again. */
  retryCount: Schema.Int,
  /** At this many it is no longer claimed by itself. */
  maxRetries: Schema.Int,
  /** Why it cannot be redriven as things are; `null` unless a try found it so. */
  problem: Schema.NullOr(Schema.String),
  createdAt: Schema.DateTimeUtc,
  dueAt: Schema.DateTimeUtc
}) {}

/** What `add` takes: the queue gives the rest. */
export type NewDeadLetter = Omit<
  typeof DeadLetter.Type,
  "id" | "status" | "retryCount" | "maxRetries" | "problem" | "createdAt"
>

/** One entry per saga id, call and kind, in every queue and spool. */
export const deadLetterId = (entry: NewDeadLetter): string => derivedUuid(entry.sagaId, String(entry.call), entry.kind)

export interface DeadLetterFilter {
  readonly status?: DeadLetter["status"]
  readonly saga?: string
  readonly database?: string
  /** The id of the last entry of the page before: entries come oldest first. */
  readonly after?: string
  /** At most this many; 100 unless said. */
  readonly limit?: number
}
