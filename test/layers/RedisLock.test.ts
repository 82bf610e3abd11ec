/** The lock when Redis or its holder misbehaves: each test has a Redis of its own. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Duration, Effect, Exit, Fiber, Layer } from "effect"
import { DistributedLock, IoRedis } from "effect-saga"
import { Redis as Client } from "ioredis"
import * as RedisLock from "../../src/layers/redis/RedisLock.ts"
import { bucket } from "../../src/schema/Digest.ts"
import { servers } from "../servers/inject.ts"
import * as RedisServer from "../servers/Redis.ts"

const server = Effect.acquireRelease(Effect.promise(RedisServer.start), (one) => Effect.promise(one.stop))
const lockOn = (url: string, options: RedisLock.RedisLockOptions = {}) =>
  Effect.map(
    Layer.build(RedisLock.layerWith(options).pipe(Layer.provide(IoRedis.layerUrl(url, { commandTimeout: 1000 })))),
    (context) => Context.get(context, DistributedLock)
  )
const client = (url: string) =>
  Effect.acquireRelease(
    Effect.sync(() => new Client(url)),
    (one) => Effect.sync(() => one.disconnect())
  )

const reasonOf = (exit: Exit.Exit<unknown, unknown>) => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  return typeof error === "object" &&
    error !== null &&
    "reason" in error &&
    typeof error.reason === "object" &&
    error.reason !== null &&
    "_tag" in error.reason
    ? error.reason._tag
    : exit._tag
}

describe.skipIf(servers().redis === null)("the lock on a real Redis", () => {
  it.live("renews the lease while its scope is open", () =>
    Effect.gen(function* () {
      const lock = yield* lockOn((yield* server).url, { lease: "300 millis", wait: "100 millis" })
      yield* lock.withLock("r")(() =>
        Effect.gen(function* () {
          yield* Effect.sleep("1 second")
          assert.strictEqual(reasonOf(yield* Effect.exit(Effect.scoped(lock.acquire("r")))), "LockTimeout")
        })
      )
    })
  )

  it.live("interrupts the body when the lease is gone, and tells why", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const lock = yield* lockOn(url, { lease: "300 millis" })
      const redis = yield* client(url)
      let interrupted = false
      const body = Effect.onInterrupt(Effect.never, () =>
        Effect.sync(() => {
          interrupted = true
        })
      )
      const fiber = yield* Effect.forkChild(
        lock.withLock("r")(() =>
          Effect.andThen(
            Effect.promise(() => redis.flushall()),
            body
          )
        )
      )
      assert.strictEqual(reasonOf(yield* Fiber.await(fiber)), "LockLost")
      assert.isTrue(interrupted)
    })
  )

  it.live("does not release what another holds now", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const lock = yield* lockOn(url)
      const redis = yield* client(url)
      const key = yield* lock.withLock("r")(() =>
        Effect.promise(async () => {
          const [found = ""] = await redis.keys("dtx:lock:*")
          await redis.set(found, "another's token")
          return found
        })
      )
      assert.strictEqual(yield* Effect.promise(() => redis.get(key)), "another's token")
    })
  )

  it.live("issues a higher fence after everything was flushed", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const lock = yield* lockOn(url)
      const redis = yield* client(url)
      const before = yield* Effect.scoped(lock.acquire("r"))
      yield* Effect.promise(() => redis.flushall())
      assert.isAbove((yield* Effect.scoped(lock.acquire("r"))).fence, before.fence)
    })
  )

  it.live("takes over when a holder dies without releasing", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const redis = yield* client(url)
      const lock = yield* lockOn(url, { wait: "2 seconds" })
      const { resources } = yield* Effect.scoped(lock.acquire("r"))
      yield* Effect.promise(() => redis.set(`dtx:lock:{${bucket(resources[0] ?? "")}}:r`, "dead", "PX", 400))
      const [time] = yield* Effect.timed(Effect.scoped(lock.acquire("r")))
      assert.isTrue(Duration.toMillis(time) >= 300 && Duration.toMillis(time) < 1000, `${time}`)
    })
  )

  it.live(
    "wakes a waiter of another process at once, who does not poll",
    () =>
      Effect.gen(function* () {
        const { url } = yield* server
        const [holder, other] = [yield* lockOn(url), yield* lockOn(url)]
        const redis = yield* client(url)
        const evals = Effect.promise(async () =>
          Number(/cmdstat_evalsha:calls=(\d+)/.exec(await redis.info("commandstats"))?.[1] ?? 0)
        )
        const waits: Array<number> = []
        for (let i = 0; i < 15; i++) {
          const held = yield* Deferred.make<void>()
          const done = yield* Deferred.make<number>()
          const holding = yield* Effect.forkChild(
            holder
              .withLock("r")(() => Effect.andThen(Deferred.succeed(held, undefined), Effect.sleep("100 millis")))
              .pipe(Effect.andThen(Effect.sync(() => performance.now())))
          )
          yield* Deferred.await(held)
          const before = yield* evals
          const waiting = yield* Effect.forkChild(
            Effect.all(
              Array.from({ length: 50 }, () => other.withLock("r")(() => Deferred.succeed(done, performance.now()))),
              { concurrency: "unbounded" }
            )
          )
          yield* Effect.sleep("80 millis")
          if (i === 0) assert.isAtMost((yield* evals) - before, 2, "50 waiters ask once, by their first")
          waits.push((yield* Deferred.await(done)) - (yield* Fiber.join(holding)))
          yield* Fiber.join(waiting)
        }
        const median = waits.toSorted((x, y) => x - y)[7] ?? Number.NaN
        assert.isBelow(median, 10)
      }),
    30_000
  )

  it.live(
    "fails with a typed error when Redis is gone, and works when it is back",
    () =>
      Effect.gen(function* () {
        const redis = yield* server
        const lock = yield* lockOn(redis.url, { wait: "500 millis" })
        yield* Effect.promise(redis.kill)
        assert.strictEqual(reasonOf(yield* Effect.exit(Effect.scoped(lock.acquire("r")))), "LockStoreError")
        yield* Effect.promise(redis.restart)
        yield* Effect.retry(Effect.scoped(lock.acquire("r")), {
          times: 20,
          while: () => Effect.as(Effect.sleep("100 millis"), true)
        })
      }),
    30_000
  )

  it.live(
    "loses a lease whose Redis hangs, before another can have it",
    () =>
      Effect.gen(function* () {
        const redis = yield* server
        const lock = yield* lockOn(redis.url, { lease: "600 millis" })
        const held = yield* Deferred.make<void>()
        const fiber = yield* Effect.forkChild(
          lock.withLock("r")(() => Effect.andThen(Deferred.succeed(held, undefined), Effect.never))
        )
        yield* Deferred.await(held)
        redis.pause()
        const exit = yield* Fiber.await(fiber)
        redis.resume()
        assert.strictEqual(reasonOf(exit), "LockLost")
      }),
    30_000
  )
})
