/**
 * The lock over N independent Redis nodes: held by whoever holds it on a majority, so that it outlives the loss of a
 * minority. Redlock, from https://redis.io/docs/latest/develop/clients/patterns/distributed-locks.
 *
 * **Details**
 *
 * A lease counts from before the first node was asked, less the drift. It is granted only after the highest fence drawn
 * by any node is stored on a majority: the next majority shares a node with this one, so fences rise. When nobody has a
 * majority all release and try again after a short random delay; when another has one, waiters sleep until its release
 * is announced.
 *
 * **Gotchas**
 *
 * The nodes must not replicate each other. One that forgets its keys and is back within a lease can help to grant a
 * second majority: let it stay down for a lease, or keep its data. Only the fences make that harmless.
 */
import { Cause, Context, Deferred, Duration, Effect, Exit, type Fiber, Layer, Random, Schedule, Scope } from "effect"
import * as Redis from "effect/persistence/Redis"
import { DistributedLock } from "../../services/DistributedLock.ts"
import { type LeaseStore, makeLeasedLock, type Taken } from "../lock/LeasedLock.ts"
import { type LockNode, makeLockNode } from "./LockNode.ts"
import { type LockWaiters, makeLockWaiters } from "./LockWaiters.ts"
import { makeQuorum, type Quorum } from "./Quorum.ts"
import { LEASE, type RedisLockOptions, WAIT } from "./RedisLock.ts"

export interface RedlockOptions<E, R> extends RedisLockOptions {
  /** Independent nodes, an odd number. One that cannot be reached at first is tried again in the background. */
  readonly nodes: ReadonlyArray<Layer.Layer<Redis.Redis, E, R>>
}

type Granted = Extract<Taken, { readonly _tag: "Taken" }>
type Held = Extract<Taken, { readonly _tag: "Held" }>

const unreachable = (problems: ReadonlyArray<unknown>) =>
  new Error(`no majority of the lock's nodes answered: ${problems.map(String).join("; ") || "there is none"}`)

/** Until a majority may be free: when another has one, until enough of its leases end; else a short while. */
const delay = Effect.fnUntraced(function* (refusals: ReadonlyArray<Held>, granted: number, majority: number) {
  const holders = Map.groupBy(refusals, (refusal) => refusal.holder)
  if (![...holders.values()].some((held) => held.length >= majority)) return yield* Random.nextIntBetween(1, 30)
  const waits = refusals.map((refusal) => refusal.wait).sort((a, b) => a - b)
  return waits[majority - granted - 1] ?? 0
})

const makeStore = ({ ask, majority }: Quorum<LockNode>, spare: number): Omit<LeaseStore, "waiting"> => {
  /** By token: the fibers that ask the nodes for it, of which some may still do when the majority has decided. */
  const taking = new Map<string, Array<Fiber.Fiber<unknown, unknown>>>()
  const takes = (token: string) => {
    const by: Array<Fiber.Fiber<unknown, unknown>> = []
    taking.set(token, by)
    return by
  }

  const release: LeaseStore["release"] = Effect.fnUntraced(function* (resources, token) {
    // A node that does not know the script would be sent it again, behind the release, and keep the lease.
    for (const fiber of taking.get(token) ?? []) fiber.interruptUnsafe()
    taking.delete(token)
    const { answers, problems } = yield* ask(
      (node) => node.release(resources, token),
      () => true,
      { reached: "all" }
    )
    if (answers.length < majority) yield* Effect.fail(unreachable(problems))
  })

  /** The fence once a majority keeps it; undefined when the token has no majority any more. */
  const spread = Effect.fnUntraced(function* (resources: ReadonlyArray<string>, token: string, fence: number) {
    const { answers, problems } = yield* ask(
      (node) => node.raise(resources, token, fence),
      (raised) => raised
    )
    const raised = answers.filter((one) => one).length
    if (raised >= majority) return fence
    return answers.length - raised > spare ? undefined : yield* Effect.fail(unreachable(problems))
  })

  return {
    release,
    take: Effect.fnUntraced(function* (resources, token) {
      const { answers, problems } = yield* ask(
        (node) => node.take(resources, token),
        (taken) => taken._tag === "Taken",
        // Every node that grants it is one more that may be lost.
        { reached: "all", by: takes(token) }
      )
      if (answers.length < majority) return yield* Effect.fail(unreachable(problems))
      const granted = answers.filter((taken): taken is Granted => taken._tag === "Taken")
      const refused = answers.filter((taken): taken is Held => taken._tag === "Held")
      if (granted.length >= majority) {
        const fence = yield* spread(resources, token, Math.max(...granted.map((taken) => taken.fence)))
        if (fence !== undefined) return { _tag: "Taken", fence }
      }
      yield* release(resources, token)
      return { _tag: "Held", wait: yield* delay(refused, granted.length, majority), holder: refused[0]?.holder ?? "" }
    }),
    renew: Effect.fnUntraced(function* (resources, token) {
      const { answers, problems } = yield* ask(
        (node) => node.renew(resources, token),
        (kept) => kept,
        { reached: "all" }
      )
      const kept = answers.filter((one) => one).length
      if (kept >= majority) return true
      // Lost for certain only when those that may still keep it are no majority.
      return answers.length - kept > spare ? false : yield* Effect.fail(unreachable(problems))
    }),
    advance: Effect.fnUntraced(function* (resources, token, least) {
      const { answers, problems } = yield* ask(
        (node) => node.advance(resources, token, least),
        (fence) => fence !== undefined
      )
      const fences = answers.filter((fence) => fence !== undefined)
      if (fences.length >= majority) return yield* spread(resources, token, Math.max(...fences))
      return answers.length - fences.length > spare ? undefined : yield* Effect.fail(unreachable(problems))
    })
  }
}

const reconnect = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("1 second")])

/** The node, which fails until its Redis is there; ready once it was tried for the first time. */
const join = Effect.fnUntraced(function* <E, R>(
  layer: Layer.Layer<Redis.Redis, E, R>,
  lease: Duration.Duration,
  listen: LockWaiters["listen"]
) {
  const scope = yield* Effect.scope
  const tried = yield* Deferred.make<void>()
  let node: Effect.Effect<LockNode, unknown> = Effect.fail("it was not reached yet")
  const build = Effect.gen(function* () {
    const own = yield* Scope.fork(scope)
    return yield* Effect.onExit(Layer.buildWithScope(Layer.fresh(layer), own), (exit) =>
      Exit.isSuccess(exit)
        ? Effect.void
        : Effect.andThen(
            Effect.sync(() => {
              node = Effect.fail(Cause.squash(exit.cause))
            }),
            Effect.andThen(Scope.close(own, exit), Deferred.succeed(tried, undefined))
          )
    )
  })
  // A hung node must cost little: the majority decides without it.
  const answerWithin = Duration.min(Duration.times(lease, 0.1), Duration.seconds(1))
  yield* Effect.retry(build, reconnect).pipe(
    Effect.flatMap((context) => {
      const redis = Context.get(context, Redis.Redis)
      node = Effect.succeed(makeLockNode(redis, { lease, answerWithin }))
      return Effect.andThen(Deferred.succeed(tried, undefined), listen(redis))
    }),
    Effect.forkScoped({ startImmediately: true })
  )
  return { node: Effect.suspend(() => node), tried: Deferred.await(tried) }
})

const make = Effect.fnUntraced(function* <E, R>(options: RedlockOptions<E, R>) {
  const lease = Duration.fromInputUnsafe(options.lease ?? LEASE)
  const { listen, waiting } = makeLockWaiters()
  const members = yield* Effect.forEach(options.nodes, (layer) => join(layer, lease, listen))
  const quorum = makeQuorum(
    members.map(({ node }) => node),
    yield* Effect.scope
  )
  const all = Effect.forEach(members, ({ tried }) => tried, { concurrency: "unbounded", discard: true })
  yield* Effect.timeoutOption(all, "5 seconds")
  return yield* makeLeasedLock(
    { ...makeStore(quorum, options.nodes.length - quorum.majority), waiting },
    { lease, wait: Duration.fromInputUnsafe(options.wait ?? WAIT) }
  )
})

export const layer = <E, R>(options: RedlockOptions<E, R>): Layer.Layer<DistributedLock, never, R> =>
  Layer.effect(DistributedLock, make(options))
