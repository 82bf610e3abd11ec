/** An admission of the fused guard from when its lock is held: its lease, its commit, and its release. */
import { Cause, type Clock, type Context, type Duration, Effect, Exit } from "effect"
import * as Redis from "effect/persistence/Redis"
import { afterTurn } from "../../services/AfterTurn.ts"
import type { Ending, IdempotencyRequest, OpenMark } from "../../services/Idempotency.ts"
import { lockAcquisitionDuration } from "../../services/Metrics.ts"
import type { Entered } from "../../services/SagaGuard.ts"
import type { JournalClosing } from "../../services/SagaJournal.ts"
import { brief, unrecorded } from "../guard/Admissions.ts"
import { storeError as lockStoreError } from "../lock/LeasedLock.ts"
import { type HeldLease, type LeaseKeeper, leaseOf } from "../lock/Leases.ts"
import type { LockNode } from "./LockNode.ts"
import { type Landed, lockLost, storeError } from "./Records.ts"
import type { Entry } from "./SagaGuardEntry.ts"
import type { Questions } from "./SagaGuardScripts.ts"

export interface AdmissionsOptions {
  readonly questions: Questions
  readonly node: LockNode
  readonly keeper: LeaseKeeper
  readonly clock: Clock.Clock
  /** Whether the journal is on the same Redis. */
  readonly journal: boolean
  /** How long an answer is awaited that nothing depends on. */
  readonly patience: Duration.Duration
}

export interface Admissions {
  /**
   * Must be called uninterruptible. `pass` is called when the lock is about to be free, with whether something is about to be
   * recorded, and again when it is not known what became of that; `refused` when the lock is another's; `left` once when it
   * is free, with what a repeat will get.
   */
  readonly admit: (
    entry: Entry,
    /** Its fence as Redis writes it; in milliseconds when it was asked for, and how long was waited for it; by whom. */
    taken: {
      readonly fence: string
      readonly asked: number
      readonly waited: number
      readonly context: Context.Context<never>
    },
    abandoned: ReadonlyArray<OpenMark>,
    told: {
      readonly pass: (records: boolean) => void
      readonly refused: () => void
      readonly left: (landed: Landed | undefined) => void
    }
  ) => Entered
  /** Takes back whatever became of a question whose answer nobody has. */
  readonly withdraw: (entry: Entry) => Effect.Effect<void>
}

export const makeAdmissions = (options: AdmissionsOptions): Admissions => {
  const { clock, keeper, node, patience, questions } = options

  const released = (release: Effect.Effect<unknown, unknown>) =>
    Effect.catchCause(Effect.asVoid(release), (cause) =>
      Effect.logWarning("a lease could not be released and will end by itself", cause)
    )
  const withdraw = (entry: Entry) =>
    released(
      Effect.timeoutOrElse(questions.withdraw(entry), {
        duration: patience,
        orElse: () => Effect.fail(new Redis.RedisError({ cause: new Error("Redis did not answer") }))
      })
    )

  /** The fence that was set aside at the admission: as long as the lease lives nobody else draws one. */
  const reservedFor = (held: HeldLease) => {
    let reserved = held.fence + 1
    return (atLeast: number) => {
      const fence = reserved
      reserved = 0
      return fence >= Math.max(1, atLeast) && clock.currentTimeMillisUnsafe() < held.deadline ? fence : undefined
    }
  }

  return {
    withdraw,
    admit: (entry, { asked, context, fence: drawn, waited }, abandoned, { left, pass, refused }) => {
      const { names, request, token } = entry
      const fence = Number(drawn)
      const held = keeper.hold({ resources: names, token, fence }, asked)
      entry.held = held
      let state: "running" | "ending" | "ended" = "running"
      const close = (exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> | undefined => {
        if (state === "ended") return undefined
        // Whoever was interrupted on its way in leaves no mark as if its owner had died.
        const unbegun = state === "running" && Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)
        const release = unbegun ? withdraw(entry) : released(node.release(names, token))
        keeper.letGo(held)
        return Effect.ensuring(
          release,
          Effect.sync(() => left(undefined))
        )
      }
      const records = (ending: Ending) => ending._tag !== "Nothing" && request.replay !== false
      const ended = (ending: Ending): boolean => {
        const recorded = records(ending)
        if (state !== "ended") {
          state = "ended"
          keeper.letGo(held)
          left(recorded ? landing(request, drawn, ending) : undefined)
        }
        return recorded
      }
      const leaving = (ending: Ending, closing?: JournalClosing) => {
        if (state === "running") {
          state = "ending"
          // The next in this process asks behind this end on the same connection: one round trip less between the two.
          afterTurn(() => pass(records(ending)))
        }
        return questions.leave(entry, drawn, ending, closing)
      }
      const reserved = reservedFor(held)
      const advance = (atLeast: number) =>
        Effect.suspend(() => {
          const fence = reserved(atLeast)
          return fence === undefined
            ? Effect.mapError(node.advance(names, token, atLeast), lockStoreError)
            : Effect.succeed(fence)
        })
      const lease = leaseOf(held, clock, advance, reserved)
      const commit = (ending: Ending) =>
        Effect.suspend(() => {
          const end = leaving(ending)
          const onSuccess = (answer: 0 | 1 | 2) => {
            if (answer > 0) return Effect.succeed(ended(ending))
            refused()
            return Effect.fail(lockLost(request, fence))
          }
          return Effect.matchEffect(end, {
            onSuccess,
            // Asking again changes nothing, so it is also how a lost reply is read back.
            onFailure: () => {
              pass(false)
              return Effect.matchEffect(Effect.retry(end, brief), {
                onSuccess,
                onFailure: (error) => unrecorded(request, lease, ending, storeError(error))
              })
            }
          })
        })
      const commitClosing = (ending: Ending, closing: JournalClosing) =>
        Effect.suspend(() =>
          Effect.matchEffect(leaving(ending, closing), {
            onFailure: (error) => {
              pass(false)
              return Effect.fail(storeError(error))
            },
            onSuccess: (answer) => {
              if (answer < 2) refused()
              return Effect.succeed({ closed: answer > 0, recorded: answer === 2 ? ended(ending) : undefined })
            }
          })
        )
      const admission: Entered = {
        _tag: "Admitted",
        abandoned,
        lease,
        commit,
        commitClosing: options.journal ? commitClosing : undefined,
        close
      }
      lockAcquisitionDuration.updateUnsafe(waited / 1000, context)
      return admission
    }
  }
}

/** What those in flight with it get. */
const landing = ({ fingerprint, sagaId }: IdempotencyRequest, fence: string, ending: Ending): Landed => ({
  fence,
  fingerprint,
  sagaId,
  text: ending._tag === "Result" ? ending.text : undefined
})
