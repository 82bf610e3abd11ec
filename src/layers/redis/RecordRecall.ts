/**
 * A record that this process has lately written or read is most likely still there: then a plain GET finds it, which costs
 * Redis and the client less than to ask for an admission. Only a hint: a record may have ended since.
 *
 * Only of a caller's key, whose record counts whatever happened since; that of a derived one needs the ledgers.
 */
import { Effect } from "effect"
import type * as Redis from "effect/persistence/Redis"
import type { IdempotencyError } from "../../schema/IdempotencyError.ts"
import type { IdempotencyRequest } from "../../services/Idempotency.ts"
import type { Replayed, SagaGuard } from "../../services/SagaGuard.ts"
import { readRecord, replayed, servedIn, storeError } from "./Records.ts"
import { sendWhile } from "./SendWhile.ts"

/** So many are known at least, once there were as many; twice as many at most. */
const KNOWN = 4096

export interface RecordRecall {
  /** There is such a record. */
  readonly seen: (request: IdempotencyRequest, record: string) => void
  readonly recall: NonNullable<SagaGuard["Service"]["recall"]>
}

/** Of the saga that used the key last: mostly no two use the same. */
interface Hint {
  readonly saga: string
  readonly record: string
}

export const makeRecordRecall = (redis: Redis.Redis["Service"], known = KNOWN): RecordRecall => {
  let hints = new Map<string, Hint>()
  return {
    seen: ({ derived, key, saga }, record) => {
      if (derived) return
      hints.set(key, { saga, record })
      // Half of them are forgotten at a time, the first that were seen: to take them out of a map one by one gets slower
      // the more were taken.
      if (hints.size >= 2 * known) hints = new Map([...hints].slice(known))
    },
    recall: (wanted, context, meanwhile) => {
      if (wanted.derived || wanted.replay === false) return undefined
      const { key, saga } = wanted
      const hint = hints.get(key)
      if (hint?.saga !== saga) return undefined
      return Effect.matchEffect(sendWhile<string | null>(redis, meanwhile, "GET", hint.record), {
        onFailure: (cause) => {
          hints.delete(key)
          return Effect.fail(storeError(cause))
        },
        onSuccess: (text): Effect.Effect<Replayed | undefined, IdempotencyError> => {
          if (text !== null) return servedIn(context, wanted, readRecord(text), replayed)
          hints.delete(key)
          return Effect.succeed(undefined)
        }
      })
    }
  }
}
