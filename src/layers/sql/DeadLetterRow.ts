/** Dead letters as the table has them: numbers of 64 bits come as text, times as text by our own formatting. */
import { DateTime, Schema, SchemaGetter } from "effect"
import { DeadLetterKind, DeadLetterPriority, DeadLetterStatus, type NewDeadLetter } from "../../schema/DeadLetter.ts"
import { fromJsonb, toJsonb, toText } from "./Jsonb.ts"

const Jsonb = Schema.Unknown.pipe(
  Schema.decodeTo(Schema.Unknown, {
    decode: SchemaGetter.transform(fromJsonb),
    encode: SchemaGetter.transform(toJsonb)
  })
)

export const DeadLetterRow = Schema.Struct({
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
  call: Schema.Int,
  resources: Schema.Array(Schema.String),
  fence: Schema.FiniteFromString,
  input: Jsonb,
  before: Jsonb,
  output: Jsonb,
  errorType: Schema.String,
  errorMessage: Schema.String,
  metadata: Jsonb,
  retryCount: Schema.Int,
  maxRetries: Schema.Int,
  problem: Schema.NullOr(Schema.String),
  createdAt: Schema.DateTimeUtcFromString,
  dueAt: Schema.DateTimeUtcFromString
})

/** Whoever parks an entry by hand may write `infinity`, which is no date elsewhere. */
const time = (column: string) =>
  `to_char(greatest(least(${column}, '9999-12-31 00:00Z'), '0001-01-01 00:00Z') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`

const LATEST = DateTime.makeUnsafe("9999-12-31T00:00:00Z")

/** As every `timestamptz` can be read back. */
export const toTimestamp = (time: DateTime.Utc): string => DateTime.formatIso(DateTime.min(time, LATEST))

export const COLUMNS = `id::text, kind, status, priority, database, operation, saga, saga_version AS "sagaVersion",
  saga_id AS "sagaId", step, call, resources, fence::text, payload AS input, before, result AS output,
  error_type AS "errorType", error_message AS "errorMessage", metadata, retry_count AS "retryCount",
  max_retries AS "maxRetries", problem, ${time("created_at")} AS "createdAt", ${time("due_at")} AS "dueAt"`

/** What `dlq_add_entry` takes: whatever the entry holds, the table can hold it. */
export const entryJson = (id: string, entry: NewDeadLetter): string =>
  JSON.stringify({
    id,
    kind: entry.kind,
    priority: entry.priority,
    database: toText(entry.database),
    operation: toText(entry.operation),
    saga: toText(entry.saga),
    saga_version: entry.sagaVersion,
    saga_id: toText(entry.sagaId),
    step: toText(entry.step),
    call: entry.call,
    resources: entry.resources.map(toText),
    fence: entry.fence,
    payload: toJsonb(entry.input),
    before: toJsonb(entry.before),
    result: toJsonb(entry.output),
    error_type: toText(entry.errorType),
    error_message: toText(entry.errorMessage),
    metadata: toJsonb(entry.metadata),
    due_at: toTimestamp(entry.dueAt)
  })
