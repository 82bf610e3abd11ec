import { Duration, Effect, Layer } from "effect"
import { DistributedLock, IoRedis, RedisLock } from "effect-saga"

const impatient = RedisLock.layerWith({ wait: "100 millis" }).pipe(Layer.provide(IoRedis.layerConfig))
const twice = Effect.gen(function* () {
  const lock = yield* DistributedLock
  const lease = yield* lock.acquire("document 7")
  const error = yield* Effect.flip(lock.acquire("document 7"))
  return [Duration.toSeconds(yield* lease.remaining) > 20, error.reason._tag]
})
console.log(await Effect.runPromise(Effect.scoped(twice).pipe(Effect.provide(impatient)))) // [ true, 'LockTimeout' ]
