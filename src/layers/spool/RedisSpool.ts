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
  waiting: Effect.map(
    Effect.flatMap(
      redis.send<unknown>("XRANGE", STREAM, "-", "+", "COUNT", "1000"),
      Schema.decodeUnknownEffect(Entries)
    ),
    (entries) =>
      entries.map(([entry, [, id = "", , json = ""]]) => {
        const remove = redis.send("XDEL", STREAM, entry)
        return {
          id,
          json,
          remove,
          setAside: Effect.andThen(redis.send("XADD", ASIDE, "*", "id", id, "json", json), remove)
        }
      })
  )
})
