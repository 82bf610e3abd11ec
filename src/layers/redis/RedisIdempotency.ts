/** Records and marks in Redis: one script to look, one to begin, one to end. */
import { Duration, Effect, Layer, Metric, Schema } from "effect"
import * as Redis from "effect/persistence/Redis"
import {
  IdempotencyError,
  IdempotencyStoreError,
  KeyReused,
  RecordUnreadable,
  ResultNotKept
} from "../../schema/IdempotencyError.ts"
import { LockError, LockLost } from "../../schema/LockError.ts"
import { Idempotency, type IdempotencyRequest } from "../../services/Idempotency.ts"
import { idempotentCacheHits } from "../../services/Metrics.ts"
import * as Scripts from "./RedisIdempotencyScripts.ts"

export interface RedisIdempotencyOptions {
  /** How long a record lives; 24 hours unless said. */
  readonly timeToLive?: Duration.Input
}

const storeError = (cause: unknown) => new IdempotencyError({ reason: new IdempotencyStoreError({ cause }) })

const Mark = Schema.fromJsonString(
  Schema.Struct({
    saga: Schema.String,
    sagaId: Schema.String,
    fence: Schema.Int,
    resources: Schema.Array(Schema.String)
  })
)

/** What a found record means for this request. */
const served = (
  request: IdempotencyRequest,
  found: Exclude<Scripts.Found, readonly ["none"]>
): Effect.Effect<string, IdempotencyError> => {
  const { key } = request
  if (found[0] === "unreadable") {
    return Effect.fail(new IdempotencyError({ reason: new RecordUnreadable({ key, problem: found[1] }) }))
  }
  if (found[2] !== request.fingerprint) return Effect.fail(new IdempotencyError({ reason: new KeyReused({ key }) }))
  return found[0] === "text"
    ? Effect.as(Metric.update(idempotentCacheHits, 1), found[3])
    : Effect.fail(new IdempotencyError({ reason: new ResultNotKept({ key, sagaId: found[1] }) }))
}

const make = Effect.fnUntraced(function* (options: RedisIdempotencyOptions) {
  const redis = yield* Redis.Redis
  const lives = Duration.toMillis(Duration.fromInputUnsafe(options.timeToLive ?? "24 hours"))
  return Idempotency.of({
    lookup: (request) =>
      request.replay === false
        ? Effect.undefined
        : Effect.flatMap(Effect.mapError(redis.eval(Scripts.lookup)(request), storeError), (found) =>
            found[0] === "none" ? Effect.undefined : served(request, found)
          ),
    begin: Effect.fnUntraced(function* (request, lease) {
      const { resources, saga, sagaId } = request
      const mark = { saga, sagaId, fence: lease.fence, resources }
      const answer = yield* Effect.mapError(
        redis.eval(Scripts.begin)(request, mark, lives, lease.exclusive),
        storeError
      )
      if (answer[0] !== "admitted") return { _tag: "Replayed", result: yield* served(request, answer) } as const
      const marks = yield* Effect.mapError(
        Effect.forEach(new Set(answer.slice(1)), (text) => Schema.decodeUnknownEffect(Mark)(text)),
        storeError
      )
      // One saga left its mark on each of its resources.
      const abandoned = [...new Map(marks.map((one) => [one.sagaId, one])).values()]
      return { _tag: "Admitted", abandoned } as const
    }),
    end: Effect.fnUntraced(function* (request, lease, ending) {
      const stored = yield* Effect.mapError(redis.eval(Scripts.end)(request, lease.fence, lives, ending), storeError)
      if (stored === 1) return
      const resource = request.resources.join(", ")
      return yield* new LockError({ reason: new LockLost({ resource, fence: lease.fence }) })
    }),
    ended: (request) =>
      redis.send<string | null>("HGET", Scripts.recordKey(request), "saga").pipe(
        Effect.map((sagaId) => sagaId === request.sagaId),
        Effect.mapError(storeError)
      )
  })
})

export const layerWith = (options: RedisIdempotencyOptions): Layer.Layer<Idempotency, never, Redis.Redis> =>
  Layer.effect(Idempotency, make(options))

export const layer: Layer.Layer<Idempotency, never, Redis.Redis> = layerWith({})
