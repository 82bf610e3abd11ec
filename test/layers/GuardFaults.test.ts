/** Lock, idempotency and guard where something goes wrong in between, on a real Redis. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Exit, Fiber, Layer, Scope } from "effect"
import * as Redis from "effect/persistence/Redis"
import { DistributedLock, Idempotency, type IdempotencyRequest, IoRedis, SagaGuard } from "effect-saga"
import { Redis as Client } from "ioredis"
import * as ComposedGuard from "../../src/layers/guard/ComposedGuard.ts"
import * as MemoryIdempotency from "../../src/layers/memory/MemoryIdempotency.ts"
import { readRecord } from "../../src/layers/redis/Records.ts"
import * as RedisIdempotency from "../../src/layers/redis/RedisIdempotency.ts"
import { fenceKey, ledgerKey, lockKey, recordKey } from "../../src/layers/redis/RedisKeys.ts"
import * as RedisLock from "../../src/layers/redis/RedisLock.ts"
import { bucket } from "../../src/schema/Digest.ts"
import { sagaGuardContract } from "../contract/SagaGuardContract.ts"
import { servers } from "../servers/inject.ts"

const url = servers().redis ?? ""
let names = 0
const own = (what: string) => `${what}-${process.pid}-${++names}`
const T = 1_795_000_000_000_000

const redisLayer = IoRedis.layerUrl(url)
const lockWith = (options: RedisLock.RedisLockOptions) =>
  Effect.map(Layer.build(RedisLock.layerWith(options).pipe(Layer.provide(redisLayer))), (context) =>
    Context.get(context, DistributedLock)
  )
const plain = Effect.acquireRelease(
  Effect.sync(() => new Client(url)),
  (client) => Effect.sync(() => client.disconnect())
)
const asked = <A>(work: () => Promise<A>) => Effect.promise(work)
const tagOf = (exit: Exit.Exit<unknown, { readonly reason: { readonly _tag: string } }>) =>
  Exit.isSuccess(exit)
    ? "Success"
    : Exit.findErrorOption(exit).pipe((error) => (error._tag === "Some" ? error.value.reason._tag : "Died"))

const request = (resources: ReadonlyArray<string>, changes: Partial<IdempotencyRequest> = {}): IdempotencyRequest => ({
  saga: "Write",
  sagaId: own("saga"),
  key: own("key"),
  derived: true,
  fingerprint: "print",
  resources,
  ...changes
})
const leaseOf = (resources: ReadonlyArray<string>, fence: number, exclusive = true) => ({
  resources,
  token: "token",
  fence,
  exclusive,
  remaining: Effect.succeed(Duration.seconds(30)),
  lost: Effect.never,
  advance: () => Effect.succeed(fence + 1)
})
const result = { _tag: "Result", text: '{"id":"x"}' } as const

/** Two resources of different hash tags. */
const apart = (): [string, string] => {
  const first = own("r")
  let second = own("r")
  while (bucket(second) === bucket(first)) second = own("r")
  return [first, second]
}

describe.skipIf(servers().redis === null)("the lock", () => {
  it.live("counts a key without an expiry as held", () =>
    Effect.gen(function* () {
      const [lock, client, name] = [yield* lockWith({ wait: "200 millis" }), yield* plain, own("r")]
      yield* asked(() => client.set(lockKey(name), "somebody's"))
      assert.strictEqual(tagOf(yield* Effect.exit(Effect.scoped(lock.acquire(name)))), "LockTimeout")
    }).pipe(Effect.scoped)
  )

  it.live("has nothing left once it is released", () =>
    Effect.gen(function* () {
      const lock = yield* lockWith({})
      const lease = yield* Effect.scoped(lock.acquire(own("r")))
      assert.strictEqual(Duration.toMillis(yield* lease.remaining), 0)
    }).pipe(Effect.scoped)
  )

  it.live("that was not had stands in nobody's way while its scope is open", () =>
    Effect.gen(function* () {
      const [lock, client, name] = [yield* lockWith({ wait: "200 millis" }), yield* plain, own("r")]
      yield* asked(() => client.set(lockKey(name), "somebody's", "PX", 400))
      const open = yield* Scope.make()
      assert.strictEqual(tagOf(yield* Effect.exit(Scope.provide(lock.acquire(name), open))), "LockTimeout")
      yield* Effect.sleep("300 millis")
      yield* lock.withLock(name)(() => Effect.void)
      yield* Scope.close(open, Exit.void)
    }).pipe(Effect.scoped)
  )

  it.live("on resources of several cluster nodes has one fence, stored for all of them", () =>
    Effect.gen(function* () {
      const [lock, client, names] = [yield* lockWith({}), yield* plain, apart()]
      yield* asked(() => client.set(fenceKey(names[1]), `${T * 2}`))
      yield* lock.withLock(...names)((lease) =>
        Effect.gen(function* () {
          const stored = yield* asked(() => Promise.all(names.map((name) => client.get(fenceKey(name)))))
          assert.deepStrictEqual(stored, [`${lease.fence}`, `${lease.fence}`])
          assert.isAbove(lease.fence, T * 2)
        })
      )
    }).pipe(Effect.scoped)
  )

  it.live("marks the lease in the way as waited for, once, and leaves it as long as it was", () =>
    Effect.gen(function* () {
      const [lock, client, name] = [yield* lockWith({ wait: "100 millis" }), yield* plain, own("r")]
      yield* asked(() => client.set(lockKey(name), "somebody's", "PX", 60_000))
      yield* Effect.exit(Effect.scoped(lock.acquire(name)))
      yield* Effect.exit(Effect.scoped(lock.acquire(name)))
      assert.strictEqual(yield* asked(() => client.get(lockKey(name))), "somebody's awaited")
      assert.isAbove(yield* asked(() => client.pttl(lockKey(name))), 59_000)
    }).pipe(Effect.scoped)
  )

  it.live("wakes who waits for a name with a newline and quotes in it", () =>
    Effect.gen(function* () {
      const [holder, waiter, name] = [yield* lockWith({}), yield* lockWith({}), `${own("r")}\n"ü"`]
      const holding = yield* Effect.forkChild(holder.withLock(name)(() => Effect.sleep("300 millis")))
      yield* Effect.sleep("100 millis")
      const [took] = yield* Effect.timed(waiter.withLock(name)(() => Effect.void))
      yield* Fiber.join(holding)
      assert.isBelow(Duration.toMillis(took), 1000)
    }).pipe(Effect.scoped)
  )
})

for (const [name, layer] of [
  ["memory", MemoryIdempotency.layer],
  ["Redis", RedisIdempotency.layer.pipe(Layer.provide(redisLayer), Layer.orDie)]
] as const) {
  describe.skipIf(servers().redis === null)(`idempotency: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true })((test) => {
      test.effect("refuses an owner that comes late, and never lowers the writer mark", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const resources = [own("r")]
          const later = request(resources)
          yield* idempotency.begin(later, leaseOf(resources, T + 5))
          const late = request(resources)
          assert.strictEqual(tagOf(yield* Effect.exit(idempotency.begin(late, leaseOf(resources, T)))), "LockLost")
          yield* idempotency.begin(late, leaseOf(resources, T, false))
          yield* idempotency.end(later, leaseOf(resources, T + 5), result)
          assert.strictEqual(
            tagOf(yield* Effect.exit(idempotency.end(late, leaseOf(resources, T), result))),
            "LockLost"
          )
          assert.strictEqual(yield* idempotency.lookup(later), result.text)
        })
      )

      test.effect("tells open marks apart whose saga ids contain one another", () =>
        Effect.gen(function* () {
          const idempotency = yield* Idempotency
          const resources = [own("r")]
          const long = request(resources, { sagaId: "saga-12" })
          yield* idempotency.begin(long, leaseOf(resources, T))
          const begun = yield* idempotency.begin(request(resources, { sagaId: "saga-1" }), leaseOf(resources, T + 1))
          assert.deepStrictEqual(begun._tag === "Admitted" ? begun.abandoned.map(({ sagaId }) => sagaId) : [], [
            "saga-12"
          ])
        })
      )
    })
  })
}

describe.skipIf(servers().redis === null)("the guard", () => {
  /** Redis, whose replies to `end` are lost: before it was done, or after. */
  const losing = (lose: { replies: number; done: boolean }) =>
    Effect.map(Idempotency, (real): Idempotency["Service"] => ({
      ...real,
      end: (...args) => {
        if (lose.replies-- <= 0) return real.end(...args)
        const lost = real.lookup({ ...args[0], key: "\u0000", derived: false }).pipe(Effect.asVoid)
        return lose.done ? Effect.andThen(real.end(...args), lost) : lost
      }
    }))
  const guardWith = (lose: { replies: number; done: boolean }) =>
    Effect.gen(function* () {
      const real = yield* Layer.build(
        Layer.merge(RedisLock.layer, RedisIdempotency.layer).pipe(Layer.provideMerge(redisLayer))
      )
      const idempotency = yield* Effect.provideContext(losing(lose), real)
      const built = yield* Layer.build(
        ComposedGuard.layer.pipe(Layer.provide(Layer.succeedContext(Context.add(real, Idempotency, idempotency))))
      )
      return { guard: Context.get(built, SagaGuard), redis: Context.get(real, Redis.Redis) }
    })

  for (const done of [true, false]) {
    it.live(
      `reads back what became of an end whose reply was lost (${done ? "stored" : "not stored: stores it"})`,
      () =>
        Effect.gen(function* () {
          const { guard, redis } = yield* guardWith({ replies: 1, done })
          const one = request([own("r")])
          const recorded = yield* Effect.scoped(
            Effect.flatMap(guard.enter(one), (admission) =>
              admission._tag === "Admitted" ? admission.commit(result) : Effect.succeed(false)
            )
          )
          assert.isTrue(recorded)
          assert.strictEqual(readRecord(yield* redis.send<string>("GET", recordKey(one)))?.text, result.text)
          assert.notInclude(yield* redis.send("GET", ledgerKey(one.resources[0] ?? "")), one.sagaId)
        }).pipe(Effect.scoped)
    )
  }

  it.live("leaves no open mark of a request that was interrupted on its way in", () =>
    Effect.gen(function* () {
      const { guard, redis } = yield* guardWith({ replies: 0, done: true })
      const [name, client] = [own("r"), yield* plain]
      for (let i = 0; i < 20; i++) {
        const entering = yield* Effect.forkChild(
          Effect.scoped(Effect.andThen(guard.enter(request([name])), Effect.never))
        )
        yield* Effect.sleep(Duration.micros(BigInt(i * 150)))
        yield* Fiber.interrupt(entering)
      }
      yield* Effect.scoped(
        Effect.map(guard.enter(request([name])), (admission) =>
          assert.deepStrictEqual(admission._tag === "Admitted" ? admission.abandoned : ["replayed"], [])
        )
      )
      assert.isNotNull(yield* asked(() => client.get(ledgerKey(name))))
      assert.isDefined(redis)
    }).pipe(Effect.scoped)
  )
})

describe.skipIf(servers().redis === null)("on a cluster", () => {
  const layer = ComposedGuard.layer.pipe(
    Layer.provide([RedisLock.layer, RedisIdempotency.layerWith({ cluster: true })]),
    Layer.provide(redisLayer),
    Layer.orDie
  )
  sagaGuardContract("composed, tag by tag", layer)

  it.layer(RedisIdempotency.layerWith({ cluster: true }).pipe(Layer.provide(redisLayer), Layer.orDie), {
    excludeTestServices: true
  })((test) => {
    test.effect("a request of several hash tags is admitted, ended and voided in all of them", () =>
      Effect.gen(function* () {
        const idempotency = yield* Idempotency
        const resources = apart()
        const one = request(resources)
        yield* idempotency.begin(one, leaseOf(resources, T))
        yield* idempotency.end(one, leaseOf(resources, T), result)
        yield* idempotency.end(one, leaseOf(resources, T), result)
        assert.strictEqual(yield* idempotency.lookup(one), result.text)
        const again = yield* idempotency.begin({ ...one, sagaId: own("saga") }, leaseOf(resources, T + 1))
        assert.strictEqual(again._tag, "Replayed")
        const other = request([resources[1]])
        yield* idempotency.begin(other, leaseOf([resources[1]], T + 2))
        assert.isUndefined(yield* idempotency.lookup(one), "another wrote one of the resources since")
        const late = yield* Effect.exit(idempotency.end(request(resources), leaseOf(resources, T), result))
        assert.strictEqual(tagOf(late), "LockLost")
        const refused = yield* Effect.exit(idempotency.begin(request(resources), leaseOf(resources, T)))
        assert.strictEqual(tagOf(refused), "LockLost")
      })
    )
  })
})
