/** Dead letters as the table has them: numbers of 64 bits come as text, times as text by our own formatting. */
import { DateTime, Schema } from "effect"
import { DeadLetterKind, DeadLetterPriority, DeadLetterStatus, type NewDeadLetter } from "../../schema/DeadLetter.ts"

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
  input: Schema.Unknown,
  before: Schema.Unknown,
  output: Schema.Unknown,
  errorType: Schema.String,
  errorMessage: Schema.String,
  metadata: Schema.Unknown,
  retryCount: Schema.Int,
  maxRetries: Schema.Int,
  problem: Schema.NullOr(Schema.String),
  createdAt: Schema.DateTimeUtcFromString,
  dueAt: Schema.DateTimeUtcFromString
})

const time = (column: string) => `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`

export const COLUMNS = `id::text, kind, status, priority, database, operation, saga, saga_version AS "sagaVersion",
  saga_id AS "sagaId", step, call, resources, fence::text, payload AS input, before, result AS output,
  error_type AS "errorType", error_message AS "errorMessage", metadata, retry_count AS "retryCount",
  max_retries AS "maxRetries", problem, ${time("created_at")} AS "createdAt", ${time("due_at")} AS "dueAt"`

/** What `dlq_add_entry` takes. */
export const entryJson = (id: string, entry: NewDeadLetter): string =>
  JSON.stringify({
    id,
    kind: entry.kind,
    priority: entry.priority,
    database: entry.database,
    operation: entry.operation,
    saga: entry.saga,
    saga_version: entry.sagaVersion,
    saga_id: entry.sagaId,
    step: entry.step,
    call: entry.call,
    resources: entry.resources,
    fence: entry.fence,
    payload: entry.input,
    before: entry.before,
    result: entry.output,
    error_type: entry.errorType,
    error_message: entry.errorMessage,
    metadata: entry.metadata,
    due_at: DateTime.formatIso(entry.dueAt)
  })
