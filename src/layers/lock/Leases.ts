/** Leases that have to be renewed: one fiber per lock renews them all and notices those that are lost. */
import { Clock, Duration, Effect, Latch, type Scope } from "effect"
import { LockError, LockLost } from "../../schema/LockError.ts"
import type { Lease } from "../../services/DistributedLock.ts"

export interface HeldLease {
  readonly resources: ReadonlyArray<string>
  readonly token: string
  readonly fence: number
  /** Its loss, and who is told of it. */
  loss: LockError | undefined
  readonly listeners: Array<(error: LockError) => void>
  /** Local time, in milliseconds, until which the lease is surely ours; zero once it is lost or released. */
  deadline: number
  renewedAt: number
  renewing: boolean
}

export interface LeaseKeeper {
  /** Kept renewed until it is let go. */
  readonly hold: (
    lease: { readonly resources: ReadonlyArray<string>; readonly token: string; readonly fence: number },
    asked: number
  ) => HeldLease
  readonly letGo: (held: HeldLease) => void
  /** Kept renewed until the scope closes. `asked` is when the store was asked for it. */
  readonly keep: (
    lease: { readonly resources: ReadonlyArray<string>; readonly token: string; readonly fence: number },
    asked: number
  ) => Effect.Effect<HeldLease, never, Scope.Scope>
  /** When a lease asked for at that time ends, less what clocks may differ. */
  readonly deadline: (asked: number) => number
}

/** What two clocks may drift apart during a lease: 1 %, and 2 ms for the rounding of its start. */
const drift = (lease: number) => lease * 0.01 + 2

export const lockLost = (lease: { readonly resources: ReadonlyArray<string>; readonly fence: number }) =>
  new LockError({ reason: new LockLost({ resource: lease.resources.join(", "), fence: lease.fence }) })

/** A held lease as its holder sees it. `advance` gives undefined when it is not ours any more. */
export const leaseOf = (
  held: HeldLease,
  clock: Clock.Clock,
  advance: (atLeast: number) => Effect.Effect<number | undefined, LockError>,
  reserved?: Lease["reserved"]
): Lease => {
  const onLost = (listener: (error: LockError) => void) => {
    if (held.loss === undefined) held.listeners.push(listener)
    else listener(held.loss)
    return () => {
      const { listeners } = held
      const at = listeners.lastIndexOf(listener)
      if (at < 0) return
      // Mostly it is the only one.
      if (at === listeners.length - 1) listeners.pop()
      else listeners.splice(at, 1)
    }
  }
  return {
    resources: held.resources,
    token: held.token,
    fence: held.fence,
    exclusive: true,
    remaining: Effect.sync(() => Duration.millis(Math.max(0, held.deadline - clock.currentTimeMillisUnsafe()))),
    lost: Effect.callback((resume) => Effect.sync(onLost((error) => resume(Effect.fail(error))))),
    onLost,
    advance: (atLeast = 0) =>
      Effect.flatMap(advance(atLeast), (fence) =>
        fence === undefined ? Effect.fail(lockLost(held)) : Effect.succeed(fence)
      ),
    reserved
  }
}

/**
 * `renew` says whether the lease is still ours. One failed renewal is no loss: the local deadline is, or the store's
 * word that the key is gone or another's.
 */
export const makeLeaseKeeper = Effect.fnUntraced(function* (
  duration: Duration.Duration,
  renew: (lease: HeldLease) => Effect.Effect<boolean, unknown>
): Effect.fn.Return<LeaseKeeper, never, Scope.Scope> {
  const millis = Duration.toMillis(duration)
  const third = millis / 3
  const tick = millis / 30
  /** A list, since mostly the last is the first to be let go; of those that are over at most as many stay as are held. */
  let leases: Array<HeldLease> = []
  let over = 0
  // A process that holds nothing has nothing to wake up for, once it has woken up.
  const holding = Latch.makeUnsafe(false)
  const clock = yield* Clock.Clock
  const deadline = (asked: number) => asked + millis - drift(millis)

  const isHeld = ({ deadline }: HeldLease) => deadline > 0
  const forget = (lease: HeldLease) => {
    if (!isHeld(lease)) return
    lease.deadline = 0
    over++
    for (let last = leases.at(-1); last !== undefined && !isHeld(last); last = leases.at(-1)) {
      leases.pop()
      over--
    }
    if (2 * over <= leases.length) return
    leases = leases.filter(isHeld)
    over = 0
  }
  const lose = (lease: HeldLease) => {
    forget(lease)
    const error = lockLost(lease)
    lease.loss = error
    // One may stop another from being told.
    for (let next = lease.listeners.shift(); next !== undefined; next = lease.listeners.shift()) next(error)
  }
  const renewOne = Effect.fnUntraced(function* (lease: HeldLease) {
    const asked = clock.currentTimeMillisUnsafe()
    const kept = yield* Effect.result(renew(lease))
    lease.renewing = false
    // Released or lost meanwhile: the answer speaks of what is over.
    if (!isHeld(lease)) return
    if (kept._tag === "Failure") {
      yield* Effect.logWarning("a lease could not be renewed; it is tried again until it ends", kept.failure)
    } else if (kept.success) {
      lease.renewedAt = asked
      lease.deadline = deadline(asked)
    } else lose(lease)
  })
  /** How long nothing has to be done: a lease that is added meanwhile is due later. */
  const rest = () => {
    const now = clock.currentTimeMillisUnsafe()
    let next = now + third
    for (const lease of leases) {
      if (!isHeld(lease)) continue
      const due = lease.renewing ? now : Math.min(lease.renewedAt + third, lease.deadline) - tick
      if (due < next) next = due
    }
    return Math.max(tick, next - now)
  }
  const sweep = Effect.gen(function* () {
    const now = clock.currentTimeMillisUnsafe()
    for (const lease of leases) {
      if (!isHeld(lease)) continue
      // The loss is noticed before the deadline rather than up to a tick after it.
      if (now + tick >= lease.deadline) lose(lease)
      else if (!lease.renewing && now - lease.renewedAt >= third - tick) {
        lease.renewing = true
        yield* Effect.forkChild(renewOne(lease))
      }
    }
  })
  const someHeld = Effect.suspend(() => {
    if (leases.length > 0) return Effect.void
    holding.closeUnsafe()
    return holding.await
  })
  yield* Effect.forkScoped(
    Effect.forever(
      Effect.andThen(
        someHeld,
        Effect.suspend(() => Effect.andThen(Effect.sleep(rest()), sweep))
      )
    )
  )

  const hold: LeaseKeeper["hold"] = ({ fence, resources, token }, asked) => {
    const held: HeldLease = {
      resources,
      token,
      fence,
      loss: undefined,
      listeners: [],
      deadline: deadline(asked),
      renewedAt: asked,
      renewing: false
    }
    leases.push(held)
    holding.openUnsafe()
    return held
  }
  return {
    deadline,
    hold,
    letGo: forget,
    keep: (lease, asked) =>
      Effect.acquireRelease(
        Effect.sync(() => hold(lease, asked)),
        (held) => Effect.sync(() => forget(held))
      )
  }
})
