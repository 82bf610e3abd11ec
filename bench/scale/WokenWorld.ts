/** What the processes of this experiment share: their messages, one clock, and a Redis that tells when it is asked. */
import { Effect, Layer, Schema } from "effect"
import * as Redis from "effect/persistence/Redis"
import { IoRedis } from "../../src/index.ts"
import { kindOf } from "../../src/layers/redis/SagaGuardScripts.ts"

/** So many requests for the resource `id`: with the holder's key, or each with its own. */
export const Order = Schema.Struct({
  id: Schema.String,
  key: Schema.String,
  kind: Schema.Literals(["same", "other"]),
  count: Schema.Int
})
export type Order = typeof Order.Type

/** When each had its result (same key), or when the first was admitted (other keys). */
export const Times = Schema.Array(Schema.Number)

/** Milliseconds of the machine's monotonic clock, which is one for all its processes. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6

export interface Noted {
  /** How many scripts Redis has not answered. */
  pending: number
  /** How often it was told that the lock is another's. */
  held: number
  /** When the last commit was handed to the client: before it is in Redis, so no latency is made smaller by it. */
  committed: number
}

/** Notes what its guard asks. */
export const noting = (url: string, noted: Noted) =>
  Layer.effect(
    Redis.Redis,
    Effect.map(Redis.Redis, (real): Redis.Redis["Service"] => ({
      ...real,
      eval:
        (script) =>
        (...params) =>
          Effect.suspend(() => {
            noted.pending++
            if (isCommit(script)) noted.committed = now()
            return real.eval(script)(...params)
          }).pipe(
            Effect.tap((answer) => Effect.sync(() => void (isHeld(answer) && noted.held++))),
            Effect.ensuring(Effect.sync(() => void noted.pending--))
          )
    }))
  ).pipe(Layer.provide(IoRedis.layerUrl(url)))

const isCommit = (script: object) => kindOf(script) === "leave"
const isHeld = (answer: unknown) => Array.isArray(answer) && answer[0] === "held"
