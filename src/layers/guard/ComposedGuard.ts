/**
 * The guard over any lock and any idempotency store: look up, lock, look again, admit; at the end compare and record.
 *
 * A caller's key is locked too, as a resource of its own, so that two payloads under one key never run at once.
 */
import { Duration, Effect, Layer, Schedule } from "effect"
import { sha256 } from "../../schema/Digest.ts"
import type { IdempotencyError } from "../../schema/IdempotencyError.ts"
import type { LockError } from "../../schema/LockError.ts"
import { OutcomeUnknown } from "../../schema/SagaError.ts"
import { DistributedLock, type Lease } from "../../services/DistributedLock.ts"
import { type Ending, Idempotency, type IdempotencyRequest } from "../../services/Idempotency.ts"
import { SagaGuard } from "../../services/SagaGuard.ts"

const make = Effect.gen(function* () {
  const lock = yield* DistributedLock
  const idempotency = yield* Idempotency

  const locked = (request: IdempotencyRequest): ReadonlyArray<string> =>
    request.derived || request.resources.length === 0
      ? request.resources
      : [...request.resources, `idempotency-key:${sha256(JSON.stringify([request.saga, request.key]))}`]

  const enter: SagaGuard["Service"]["enter"] = Effect.fnUntraced(function* (request) {
    const recorded = yield* idempotency.lookup(request)
    if (recorded !== undefined) return { _tag: "Replayed", result: recorded } as const
    const lease = yield* lock.acquire(...locked(request))
    const begun = yield* idempotency.begin(request, lease)
    if (begun._tag === "Replayed") return begun
    return {
      _tag: "Admitted",
      lease,
      abandoned: begun.abandoned,
      commit: (ending: Ending) => commit(request, lease, ending)
    } as const
  })

  const commit = (request: IdempotencyRequest, lease: Lease, ending: Ending) =>
    idempotency.end(request, lease, ending).pipe(
      Effect.as(ending._tag !== "Nothing" && request.replay !== false),
      Effect.catchTag("LockError", (error: LockError) =>
        // Without exclusion another's admission is no loss: this saga ends unrecorded.
        lease.exclusive ? Effect.fail(error) : Effect.succeed(false)
      ),
      Effect.catchTag("IdempotencyError", (error) =>
        ending._tag === "Nothing"
          ? Effect.as(Effect.logWarning("a failed saga's mark could not be closed", error), false)
          : replyLost(request, lease, error)
      )
    )

  const brief = Schedule.exponential("20 millis").pipe(Schedule.upTo({ times: 4 }))

  /**
   * The ending may or may not be stored: it is read back by saga id. If that fails too, the saga has still succeeded
   * as long as the lease cannot have passed to another; it is only not recorded.
   */
  const replyLost = (
    request: IdempotencyRequest,
    lease: Lease,
    error: IdempotencyError
  ): Effect.Effect<boolean, OutcomeUnknown> =>
    Effect.matchEffect(Effect.retry(idempotency.ended(request), brief), {
      onSuccess: (stored) => (stored ? Effect.succeed(true) : unrecorded(request, lease, error)),
      onFailure: () => unrecorded(request, lease, error)
    })
  const unrecorded = (request: IdempotencyRequest, lease: Lease, error: IdempotencyError) =>
    Effect.flatMap(lease.remaining, (left) =>
      Duration.toMillis(left) > 0
        ? Effect.as(Effect.logWarning("the saga succeeded, but its result could not be recorded", error), false)
        : Effect.fail(new OutcomeUnknown({ sagaId: request.sagaId }))
    )

  return SagaGuard.of({ enter })
})

export const layer: Layer.Layer<SagaGuard, never, DistributedLock | Idempotency> = Layer.effect(SagaGuard, make)

/** With idempotency switched off: nothing is looked up or recorded; admission and open marks stay. */
export const layerWithoutReplay: Layer.Layer<SagaGuard, never, DistributedLock | Idempotency> = Layer.effect(
  SagaGuard,
  Effect.map(make, (guard) => SagaGuard.of({ enter: (request) => guard.enter({ ...request, replay: false }) }))
)
