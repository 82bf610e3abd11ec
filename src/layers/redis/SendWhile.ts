/** Asking Redis, and working something out in the same turn while it answers. */
import { Effect } from "effect"
import type * as Redis from "effect/persistence/Redis"

/** A client that tells when the question has left: `IoRedis` does. */
export interface SendsWhile {
  readonly sendWhile: <A>(
    meanwhile: () => void,
    name: string,
    ...args: Array<string>
  ) => Effect.Effect<A, Redis.RedisError>
}

const sendsWhile = (redis: object): redis is SendsWhile => "sendWhile" in redis

/** `meanwhile` is called once, in the turn in which this is run: behind the question, or before it where nobody tells. */
export const sendWhile = <A>(
  redis: Redis.Redis["Service"],
  meanwhile: () => void,
  name: string,
  ...args: Array<string>
): Effect.Effect<A, Redis.RedisError> =>
  sendsWhile(redis)
    ? redis.sendWhile<A>(meanwhile, name, ...args)
    : Effect.suspend(() => {
        meanwhile()
        return redis.send<A>(name, ...args)
      })
