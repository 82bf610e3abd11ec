/** The rules that every guard shares: what it locks, and what an ending means that could not be stored. */
import { Duration, Effect, Schedule } from "effect"
import { scopedKey } from "../../schema/IdempotencyKey.ts"
import { OutcomeUnknown } from "../../schema/SagaError.ts"
import type { Lease } from "../../services/DistributedLock.ts"
import type { Ending, IdempotencyRequest } from "../../services/Idempotency.ts"

/** Of reading back what became of a lost reply. */
export const brief = Schedule.exponential("20 millis").pipe(Schedule.upTo({ times: 6, duration: "2 seconds" }))

/** What those have in common that may have one result; of a caller's key it is also what they lock. */
export const wanted = (request: IdempotencyRequest): string =>
  request.derived ? request.key : wantedBy(scopedKey(request))
/** Of a caller's key, by its name in a store. */
export const wantedBy = (name: string): string => `idempotency-key:${name}`

/** The same with nothing looked up or recorded. */
export const blind = (request: IdempotencyRequest): IdempotencyRequest => ({ ...request, replay: false })

/** A caller's key too, so that two payloads under one key never run at once; in the order in which they are taken. */
export const locked = (request: IdempotencyRequest, what = wanted(request)): ReadonlyArray<string> => {
  const { derived, resources } = request
  const [one] = resources
  if (derived || one === undefined) return resources
  if (resources.length > 1) return [...resources, what].sort()
  return one < what ? [one, what] : [what, one]
}

/**
 * The store does not answer. The saga has still succeeded as long as its lease cannot have passed to another; it is
 * only not recorded.
 */
export const unrecorded = (
  request: IdempotencyRequest,
  lease: Lease,
  ending: Ending,
  error: unknown
): Effect.Effect<boolean, OutcomeUnknown> =>
  ending._tag === "Nothing"
    ? Effect.as(Effect.logWarning("a failed saga's mark could not be closed", error), false)
    : Effect.flatMap(lease.remaining, (left) =>
        Duration.toMillis(left) > 0
          ? Effect.as(Effect.logWarning("the saga succeeded, but its result could not be recorded", error), false)
          : Effect.fail(new OutcomeUnknown({ sagaId: request.sagaId }))
      )
