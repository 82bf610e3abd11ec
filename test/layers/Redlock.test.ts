/** The lock over several independent Redis processes, and what it does when some of them do not play along. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Duration, Effect, Exit, Fiber, Layer } from "effect"
import { DistributedLock, IoRedis, RedlockLock } from "effect-saga"
import { Redis as Client } from "ioredis"
import { lockKey } from "../../src/layers/redis/RedisKeys.ts"
import * as Scripts from "../../src/layers/redis/RedisLockScripts.ts"
import { distributedLockContract } from "../contract/DistributedLockContract.ts"
import { servers } from "../servers/inject.ts"
import * as RedisServer from "../servers/Redis.ts"
import type { RunningServer } from "../servers/Server.ts"

type Options = Omit<RedlockLock.RedlockOptions<never, never>, "nodes">

const nodes = (count: number) =>
  Effect.all(
    Array.from({ length: count }, () =>
      Effect.acquireRelease(Effect.promise(RedisServer.start), (one) => Effect.promise(one.stop))
    ),
    { concurrency: "unbounded" }
  )
const clientsOf = (running: ReadonlyArray<RunningServer>) =>
  running.map(({ url }) => IoRedis.layerUrl(url, { commandTimeout: 1000 }))
const lockOn = (running: ReadonlyArray<RunningServer>, options: Options = {}) =>
  Effect.map(Layer.build(RedlockLock.layer({ ...options, nodes: clientsOf(running) })), (context) =>
    Context.get(context, DistributedLock)
  )
const layerOver = (count: number, options: Options) =>
  Layer.unwrap(Effect.map(nodes(count), (running) => RedlockLock.layer({ ...options, nodes: clientsOf(running) })))
const reasonOf = (exit: Exit.Exit<unknown, unknown>) => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  const reason = typeof error === "object" && error !== null && "reason" in error ? error.reason : undefined
  return typeof reason === "object" && reason !== null && "_tag" in reason ? reason._tag : exit._tag
}
const promise = (work: () => Promise<void>) => Effect.promise(work)
/** How many nodes keep a token for the resource. */
const keepers = (running: ReadonlyArray<RunningServer>, resource: string) =>
  Effect.promise(async () => {
    const found = await Promise.all(
      running.map(async ({ url }) => {
        const client = new Client(url)
        const token = await client.get(lockKey(resource))
        client.disconnect()
        return token
      })
    )
    return found.filter((token) => token !== null).length
  })

describe.skipIf(servers().redis === null)("Redlock", () => {
  distributedLockContract("Redlock over three nodes", layerOver(3, { wait: "1 second" }))
  distributedLockContract("Redlock over five nodes", layerOver(5, { wait: "1 second" }))

  const test = (name: string, body: Effect.Effect<void, unknown, import("effect").Scope.Scope>) =>
    it.live(name, () => Effect.scoped(body), 60_000)

  test(
    "goes on with two of five nodes down, and holds on a majority",
    Effect.gen(function* () {
      const running = yield* nodes(5)
      const [one, two, ...up] = running
      const lock = yield* lockOn(running, { wait: "1 second" })
      for (const down of [one, two]) if (down !== undefined) yield* promise(down.kill)
      yield* lock.withLock("r")((lease) =>
        Effect.gen(function* () {
          assert.isAbove(lease.fence, 0)
          assert.strictEqual(yield* keepers(up, "r"), 3)
          assert.strictEqual(reasonOf(yield* Effect.exit(Effect.scoped(lock.acquire("r")))), "LockTimeout")
        })
      )
    })
  )

  test(
    "fails promptly, and closed, without a majority",
    Effect.gen(function* () {
      const running = yield* nodes(3)
      const lock = yield* lockOn(running, { wait: "5 seconds" })
      for (const down of running.slice(0, 2)) yield* promise(down.kill)
      const [took, exit] = yield* Effect.timed(Effect.exit(Effect.scoped(lock.acquire("r"))))
      assert.strictEqual(reasonOf(exit), "LockStoreError")
      assert.isBelow(Duration.toMillis(took), 4000)
      assert.strictEqual(yield* keepers(running.slice(2), "r"), 0, "the node that granted it was asked to forget it")
    })
  )

  test(
    "keeps the lease when one of three nodes is killed, and loses it when two are",
    Effect.gen(function* () {
      const running = yield* nodes(3)
      const lock = yield* lockOn(running, { lease: "900 millis" })
      const held = yield* Effect.forkChild(Effect.exit(lock.withLock("r")(() => Effect.never)))
      yield* Effect.sleep("200 millis")
      const [one, two] = running
      if (one !== undefined) yield* promise(one.kill)
      yield* Effect.sleep("2 seconds")
      assert.isUndefined(held.pollUnsafe(), "renewed on the majority")
      if (two !== undefined) yield* promise(two.kill)
      assert.strictEqual(reasonOf(yield* Fiber.join(held)), "LockLost")
    })
  )

  test(
    "settles an even split: of many who ask at once each gets it in the end",
    Effect.gen(function* () {
      const running = yield* nodes(3)
      const locks = yield* Effect.forEach(Array.from({ length: 4 }), () => lockOn(running, { wait: "20 seconds" }))
      let inside = 0
      const fences: Array<number> = []
      yield* Effect.forEach(
        Array.from({ length: 12 }, (_, i) => locks[i % 4]),
        (lock) =>
          lock === undefined
            ? Effect.void
            : lock.withLock("r")((lease) =>
                Effect.gen(function* () {
                  assert.strictEqual(++inside, 1, "two hold it")
                  fences.push(lease.fence)
                  yield* Effect.sleep("5 millis")
                  inside--
                })
              ),
        { concurrency: "unbounded", discard: true }
      )
      assert.strictEqual(fences.length, 12)
      assert.deepStrictEqual(
        fences,
        fences.toSorted((a, b) => a - b)
      )
    })
  )

  test(
    "gives rising fences when different majorities grant",
    Effect.gen(function* () {
      const running = yield* nodes(3)
      const [one, , three] = running
      const lock = yield* lockOn(running, { wait: "2 seconds" })
      const fence = lock.withLock("r")((lease) => Effect.succeed(lease.fence))
      // A fence far above every clock, which only the first majority drew.
      const far = yield* lock.withLock("r")((lease) => lease.advance(4_000_000_000_000_000))
      if (one !== undefined) yield* promise(one.kill)
      const second = yield* fence
      if (one !== undefined) yield* promise(one.restart)
      if (three !== undefined) yield* promise(three.kill)
      yield* Effect.sleep("700 millis")
      const third = yield* fence
      assert.isAbove(second, far)
      assert.isAbove(third, second)
    })
  )

  test(
    "leaves no lease on a node that answers late, and then does not know the script",
    Effect.gen(function* () {
      const running = yield* nodes(3)
      const [one] = running
      if (one === undefined) return assert.fail("no node was started")
      const lock = yield* lockOn(running)
      yield* lock.withLock("r")(() => Effect.void)
      yield* promise(async () => {
        const client = new Client(one.url)
        await client.script("FLUSH")
        await client.script("LOAD", Scripts.release.lua)
        client.disconnect()
      })
      one.pause()
      yield* lock.withLock("r")(() => Effect.void)
      one.resume()
      yield* Effect.sleep("200 millis")
      assert.strictEqual(yield* keepers(running, "r"), 0)
    })
  )

  test(
    "releases on every node",
    Effect.gen(function* () {
      const running = yield* nodes(5)
      const lock = yield* lockOn(running)
      yield* lock.withLock("r")(() => Effect.void)
      yield* Effect.sleep("100 millis")
      assert.strictEqual(yield* keepers(running, "r"), 0)
    })
  )

  test(
    "loses little time to a node that hangs",
    Effect.gen(function* () {
      const running = yield* nodes(3)
      const lock = yield* lockOn(running)
      running[0]?.pause()
      const [took] = yield* Effect.timed(lock.withLock("r")(() => Effect.void))
      running[0]?.resume()
      assert.isBelow(Duration.toMillis(took), 2500)
    })
  )

  test(
    "wakes who waits in another process when it is released",
    Effect.gen(function* () {
      const running = yield* nodes(3)
      const [holder, waiter] = [yield* lockOn(running), yield* lockOn(running)]
      const holding = yield* Effect.forkChild(holder.withLock("r")(() => Effect.sleep("500 millis")))
      yield* Effect.sleep("100 millis")
      const [took] = yield* Effect.timed(waiter.withLock("r")(() => Effect.void))
      yield* Fiber.join(holding)
      assert.isBelow(Duration.toMillis(took), 700)
    })
  )

  test(
    "is there though a node was down when the program started, and takes it in later",
    Effect.gen(function* () {
      const running = yield* nodes(3)
      const late = running[2]
      if (late !== undefined) yield* promise(late.kill)
      const lock = yield* lockOn(running, { wait: "2 seconds" })
      yield* lock.withLock("r")(() => Effect.void)
      if (late !== undefined) yield* promise(late.restart)
      yield* Effect.sleep("1500 millis")
      if (running[0] !== undefined) yield* promise(running[0].kill)
      yield* lock.withLock("r")(() => Effect.void)
    })
  )
})
