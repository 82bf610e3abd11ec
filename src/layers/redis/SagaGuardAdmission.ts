/** An admission of the fused guard from when its lock is held: its lease, its commit, and its release. */
import { Cause, type Clock, type Duration, Effect, Exit, Scope } from "effect"
import * as Redis from "effect/persistence/Redis"
import type { OpenMark } from "../../services/Idempotency.ts"
import type { Admission } from "../../services/SagaGuard.ts"
import { brief, unrecorded } from "../guard/Admissions.ts"
import { storeError as lockStoreError } from "../lock/LeasedLock.ts"
import { type LeaseKeeper, leaseOf } from "../lock/Leases.ts"
import type { LockNode } from "./LockNode.ts"
import { type Landed, lockLost, storeError } from "./Records.ts"
import * as Scripts from "./SagaGuardScripts.ts"

export interface AdmissionsOptions {
  readonly redis: Redis.Redis["Service"]
  readonly node: LockNode
  readonly keeper: LeaseKeeper
  readonly clock: Clock.Clock
  /** Milliseconds. */
  readonly recordLives: number
  /** How long an answer is awaited that nothing depends on. */
  readonly patience: Duration.Duration
}

export interface Admissions {
  /**
   * Must be called uninterruptible. `pass` is called when the lock is about to be free, and again when it is; `left` once
   * when it is, with what a repeat will get.
   */
  readonly admit: (
    entry: Scripts.Entry,
    taken: { readonly token: string; readonly fence: number; readonly asked: number },
    abandoned: ReadonlyArray<OpenMark>,
    pass: () => void,
    left: (landed: Landed | undefined) => void
  ) => Effect.Effect<Admission, never, Scope.Scope>
  /** Takes back whatever became of a question whose answer nobody has. */
  readonly withdraw: (entry: Scripts.Entry, token: string) => Effect.Effect<void>
}

export const makeAdmissions = (options: AdmissionsOptions): Admissions => {
  const { clock, keeper, node, patience, recordLives, redis } = options

  const released = (release: Effect.Effect<unknown, unknown>) =>
    Effect.catchCause(Effect.asVoid(release), (cause) =>
      Effect.logWarning("a lease could not be released and will end by itself", cause)
    )
  const withdraw = (entry: Scripts.Entry, token: string) =>
    released(
      Effect.timeoutOrElse(redis.eval(Scripts.withdraw)(entry, token), {
        duration: patience,
        orElse: () => Effect.fail(new Redis.RedisError({ cause: new Error("Redis did not answer") }))
      })
    )

  return {
    withdraw,
    admit: Effect.fnUntraced(function* (entry, { asked, fence, token }, abandoned, pass, left) {
      const { names, request } = entry
      const scope = yield* Effect.scope
      const held = keeper.hold({ resources: names, token, fence }, asked)
      let state: "running" | "ending" | "ended" = "running"
      yield* Scope.addFinalizerExit(scope, (exit) => {
        if (state === "ended") return Effect.void
        // Whoever was interrupted on its way in leaves no mark as if its owner had died.
        const unbegun = state === "running" && Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)
        const release = unbegun ? withdraw(entry, token) : released(node.release(names, token))
        keeper.letGo(held)
        return Effect.ensuring(
          release,
          Effect.sync(() => left(undefined))
        )
      })
      const lease = leaseOf(held, clock, (atLeast) =>
        Effect.mapError(node.advance(names, token, atLeast), lockStoreError)
      )
      return {
        _tag: "Admitted",
        abandoned,
        lease,
        commit: Effect.fnUntraced(function* (ending) {
          if (state === "running") {
            state = "ending"
            // The next in this process asks behind this end on the same connection: one round trip less between the two.
            queueMicrotask(pass)
          }
          const end = redis.eval(Scripts.leave)(entry, token, fence, recordLives, ending)
          // Asking again changes nothing, so it is also how a lost reply is read back.
          const stored = yield* Effect.result(Effect.catch(end, () => Effect.retry(end, brief)))
          if (stored._tag === "Failure") {
            return yield* unrecorded(request, lease, ending, storeError(stored.failure))
          }
          if (stored.success === 0) return yield* lockLost(request, fence)
          const recorded = ending._tag !== "Nothing" && request.replay !== false
          if (state === "ended") return recorded
          state = "ended"
          keeper.letGo(held)
          const { fingerprint, sagaId } = request
          left(
            !recorded
              ? undefined
              : ending._tag === "Result"
                ? ["text", sagaId, fingerprint, ending.text, `${fence}`]
                : ["served", sagaId, fingerprint]
          )
          return recorded
        })
      } satisfies Admission
    })
  }
}
