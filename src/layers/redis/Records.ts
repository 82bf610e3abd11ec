/** What the scripts of idempotency answer, and what it means. */
import { Effect, Metric, Schema } from "effect"
import {
  IdempotencyError,
  IdempotencyStoreError,
  KeyReused,
  RecordUnreadable,
  ResultNotKept
} from "../../schema/IdempotencyError.ts"
import { LockError, LockLost } from "../../schema/LockError.ts"
import type { IdempotencyRequest, OpenMark } from "../../services/Idempotency.ts"
import { idempotentCacheHits } from "../../services/Metrics.ts"
import type { Found } from "./RedisIdempotencyScripts.ts"

export const storeError = (cause: unknown) => new IdempotencyError({ reason: new IdempotencyStoreError({ cause }) })
export const lockLost = (request: IdempotencyRequest, fence: number) =>
  new LockError({ reason: new LockLost({ resource: request.resources.join(", "), fence }) })

const Mark = Schema.fromJsonString(
  Schema.Struct({
    saga: Schema.String,
    sagaId: Schema.String,
    fence: Schema.Int,
    resources: Schema.Array(Schema.String),
    journaled: Schema.Boolean
  })
)
export const readMarks = (texts: Iterable<string>): Effect.Effect<ReadonlyArray<OpenMark>, IdempotencyError> =>
  Effect.map(
    Effect.mapError(
      Effect.forEach(new Set(texts), (text) => Schema.decodeUnknownEffect(Mark)(text)),
      storeError
    ),
    // One saga left its mark on each of its resources.
    (marks) => [...new Map(marks.map((one) => [one.sagaId, one])).values()]
  )

/** A record that a repeat can be served from. */
export type Landed = Extract<Found, readonly ["text" | "served", ...ReadonlyArray<string>]>

/** What is found under a key, be it of use or not. */
export type Present = Exclude<Found, readonly ["none"]>

/** What a found record means for this request. */
export const served = (request: IdempotencyRequest, found: Present): Effect.Effect<string, IdempotencyError> => {
  const { key } = request
  if (found[0] === "unreadable") {
    return Effect.fail(new IdempotencyError({ reason: new RecordUnreadable({ key, problem: found[1] }) }))
  }
  if (found[2] !== request.fingerprint) return Effect.fail(new IdempotencyError({ reason: new KeyReused({ key }) }))
  return found[0] === "text"
    ? Effect.as(Metric.update(idempotentCacheHits, 1), found[3])
    : Effect.fail(new IdempotencyError({ reason: new ResultNotKept({ key, sagaId: found[1] }) }))
}
