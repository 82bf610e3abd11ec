/** Dead letters in a Redis stream: as safe as Redis' persistence is, and there for whichever process drains it. */
import { Effect, Schema } from "effect"
import type * as Redis from "effect/persistence/Redis"
import type { DeadLetterSpool } from "./DeadLetterSpool.ts"

const STREAM = "dtx:dead-letters"
const ASIDE = "dtx:dead-letters-unreadable"

const Entries = Schema.Array(Schema.Tuple([Schema.String, Schema.Array(Schema.String)]))

export const makeRedisSpool = (redis: Redis.Redis["Service"]): DeadLetterSpool => ({
  name: `the Redis stream ${STREAM}`,
  put: (id, json) => redis.send("XADD", STREAM, "*", "id", id, "json", json),
  waiting: (limit) =>
    Effect.map(
      Effect.flatMap(
        redis.send<unknown>("XRANGE", STREAM, "-", "+", "COUNT", `${limit}`),
        Schema.decodeUnknownEffect(Entries)
      ),
      (entries) =>
        entries.map(([entry, fields]) => {
          const [, id = entry, , json] = fields
          const remove = redis.send("XDEL", STREAM, entry)
          return {
            id,
            json,
            remove,
            // Whatever it holds: another may have written it.
            setAside: Effect.andThen(redis.send("XADD", ASIDE, "*", ...fields), remove)
          }
        })
    )
})
