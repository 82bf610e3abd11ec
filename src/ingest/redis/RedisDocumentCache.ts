/** The cache in Redis: a hash of floor, floor's saga, stamp and document; without a document it is a tombstone. */
import { Duration, Effect, Layer, Option, Schema } from "effect"
import * as Redis from "effect/persistence/Redis"
import { Step } from "../../index.ts"
import { Document } from "../Document.ts"
import { refused, StoreError, Unavailable } from "../StoreError.ts"
import { DocumentCache } from "../Stores.ts"

const key = (uuid: string) => `document:{${uuid}}`
const Cached = Schema.fromJsonString(Schema.toCodecJson(Document))

/**
 * Writes or evicts. Invariant: the floor never falls; a writer below it, or at it under another saga, gets it back
 * and changes nothing. The same call that comes again changes nothing new.
 */
const write = Redis.script(
  (uuid: string, fence: number, sagaId: string, call: number, lives: number, document: string) => [
    key(uuid),
    fence,
    sagaId,
    call,
    lives,
    document
  ],
  {
    numberOfKeys: 1,
    lua: `
local r = redis.call('HMGET', KEYS[1], 'floor', 'saga', 'call')
if r[1] then
  local floor, fence = tonumber(r[1]), tonumber(ARGV[1])
  if floor > fence or (floor == fence and r[2] ~= ARGV[2]) then return r[1] end
  if floor == fence and r[3] == ARGV[3] then return '' end
end
redis.call('HSET', KEYS[1], 'floor', ARGV[1], 'saga', ARGV[2], 'call', ARGV[3])
if ARGV[5] == '' then redis.call('HDEL', KEYS[1], 'document') else redis.call('HSET', KEYS[1], 'document', ARGV[5]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return ''`
  }
).withReturnType<string>()

const unavailable = (operation: string, applied: StoreError["applied"]) => (cause: unknown) =>
  new StoreError({ store: "redis", operation, transient: true, applied, reason: new Unavailable({ cause }) })

const make = Effect.fnUntraced(function* (timeToLive: Duration.Input) {
  const redis = yield* Redis.Redis
  const lives = Duration.toMillis(Duration.fromInputUnsafe(timeToLive))
  const run = Effect.fnUntraced(function* (operation: string, uuid: string, document: string) {
    const { call, fence, sagaId } = yield* Step.SagaRun
    const floor = yield* Effect.mapError(
      redis.eval(write)(uuid, fence, sagaId, call, lives, document),
      unavailable(operation, "unknown")
    )
    if (floor !== "") return yield* refused("redis", operation, uuid, Number(floor), fence)
  })
  return DocumentCache.of({
    get: Effect.fnUntraced(function* (uuid) {
      const text = yield* Effect.mapError(
        redis.send<string | null>("HGET", key(uuid), "document"),
        unavailable("get", "no")
      )
      // What another version wrote is a miss.
      return text === null ? Option.none() : Schema.decodeUnknownOption(Cached)(text)
    }),
    evict: (uuid) => run("evict", uuid, ""),
    put: (document) => run("put", document.uuid, Schema.encodeSync(Cached)(document))
  })
})

/** Entries and tombstones live a day unless said: longer than any lease and step. */
export const layerWith = (options: {
  readonly timeToLive?: Duration.Input
}): Layer.Layer<DocumentCache, never, Redis.Redis> =>
  Layer.effect(DocumentCache, make(options.timeToLive ?? "24 hours"))

export const layer: Layer.Layer<DocumentCache, never, Redis.Redis> = layerWith({})
