/** A Redis whose scripts are watched, and go wrong on their way there or back. */
import { Effect, Layer } from "effect"
import * as Redis from "effect/persistence/Redis"
import { kindOf } from "../../src/layers/redis/SagaGuardScripts.ts"

export type Fault = (script: object) => Effect.Effect<void, Redis.RedisError>
export interface Faults {
  /** Before Redis hears of a script, and when it has done it. */
  readonly before?: Fault
  readonly after?: Fault
}
export const lost = Effect.fail(new Redis.RedisError({ cause: new Error("the connection broke") }))
/** Of one script, or of one kind of the fused guard's, the first time it is run. */
export const once = (
  script: object | ReturnType<typeof kindOf>,
  fault: Effect.Effect<void, Redis.RedisError>
): Fault => {
  let done = false
  return (one) => {
    if (done || (one !== script && kindOf(one) !== script)) return Effect.void
    done = true
    return fault
  }
}
const none: Fault = () => Effect.void

export const faulty = ({ after = none, before = none }: Faults) =>
  Layer.effect(
    Redis.Redis,
    Effect.map(Redis.Redis, (real): Redis.Redis["Service"] => ({
      ...real,
      eval:
        (script) =>
        (...params) =>
          Effect.suspend(() => before(script)).pipe(
            Effect.andThen(Effect.suspend(() => real.eval(script)(...params))),
            Effect.tap(() => after(script))
          )
    }))
  )
