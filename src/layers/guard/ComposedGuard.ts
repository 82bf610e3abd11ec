/**
 * The guard over any lock and any idempotency store: look up, lock, look again, admit; at the end compare and record.
 *
 * A caller's key is locked too, as a resource of its own, so that two payloads under one key never run at once. Of the
 * requests of this process that wait for the same thing, all have the result once one of them has it recorded, instead of
 * taking the lock one after another.
 */
import { Cause, Effect, Exit, Layer, Scope } from "effect"
import type { IdempotencyError } from "../../schema/IdempotencyError.ts"
import type { LockError } from "../../schema/LockError.ts"
import { DistributedLock, type Instead, type Lease, type Listener } from "../../services/DistributedLock.ts"
import { type Ending, Idempotency, type IdempotencyRequest } from "../../services/Idempotency.ts"
import { type Admission, SagaGuard } from "../../services/SagaGuard.ts"
import { type Lines, makeLines } from "../lock/Lines.ts"
import { blind, brief, locked, unrecorded, wanted } from "./Admissions.ts"

const nothing: Ending = { _tag: "Nothing" }

type Replayed = Extract<Admission, { readonly _tag: "Replayed" }>
/** By what they wait for: whom to tell that it was recorded. */
type Landings = Lines<Listener>

const replayed = (result: string | undefined): Replayed | undefined =>
  result === undefined ? undefined : { _tag: "Replayed", result }

/** Of a request, once another has it recorded. */
class Result implements Instead<Replayed, IdempotencyError> {
  private readonly request: IdempotencyRequest
  private readonly idempotency: Idempotency["Service"]
  private readonly landings: Landings
  private readonly wanted: string

  constructor(request: IdempotencyRequest, wanted: string, idempotency: Idempotency["Service"], landings: Landings) {
    this.request = request
    this.wanted = wanted
    this.idempotency = idempotency
    this.landings = landings
  }

  listen(listener: Listener): void {
    this.landings.add(this.wanted, listener)
  }

  stop(listener: Listener): void {
    this.landings.remove(this.wanted, listener)
  }

  look(): Effect.Effect<Replayed | undefined, IdempotencyError> {
    return Effect.map(this.idempotency.lookup(this.request), replayed)
  }
}

const make = Effect.gen(function* () {
  const lock = yield* DistributedLock
  const idempotency = yield* Idempotency
  const landings: Landings = makeLines()

  const lookup = (request: IdempotencyRequest) => Effect.map(idempotency.lookup(request), replayed)

  /** What became of an end whose reply was lost: asked, and if it was not stored, stored again. */
  const settle = (request: IdempotencyRequest, lease: Lease, ending: Ending) =>
    Effect.flatMap(idempotency.ended(request), (stored) =>
      stored ? Effect.void : idempotency.end(request, lease, ending)
    ).pipe(Effect.retry({ schedule: brief, while: (error) => error._tag === "IdempotencyError" }))

  const isRecorded = (request: IdempotencyRequest, ending: Ending) =>
    ending._tag !== "Nothing" && request.replay !== false

  const unended = (request: IdempotencyRequest, lease: Lease, ending: Ending, error: IdempotencyError | LockError) =>
    (error._tag === "IdempotencyError" ? settle(request, lease, ending) : Effect.fail(error)).pipe(
      Effect.as(isRecorded(request, ending)),
      Effect.catchTags({
        // Without exclusion another's admission is no loss: this saga ends unrecorded.
        LockError: (refused: LockError) => (lease.exclusive ? Effect.fail(refused) : Effect.succeed(false)),
        IdempotencyError: (unknown: IdempotencyError) => unrecorded(request, lease, ending, unknown)
      })
    )
  const commit = (request: IdempotencyRequest, lease: Lease, ending: Ending) =>
    Effect.matchEffect(idempotency.end(request, lease, ending), {
      onSuccess: () => Effect.succeed(isRecorded(request, ending)),
      onFailure: (error) => unended(request, lease, ending, error)
    })

  /** The reply to its admission was lost, so it will not run; a mark would say that it ran and its owner died. */
  const withdraw = (request: IdempotencyRequest, lease: Lease) =>
    idempotency.end(request, lease, nothing).pipe(Effect.interruptible, Effect.timeout("1 second"), Effect.ignore)

  const land = (request: IdempotencyRequest) => {
    if (landings.isEmpty()) return
    for (const listener of landings.all(wanted(request))) listener.told()
  }

  const take = (
    request: IdempotencyRequest
  ): Effect.Effect<Lease | Replayed, LockError | IdempotencyError, Scope.Scope> => {
    const what = wanted(request)
    const names = locked(request, what)
    return request.replay === false || lock.acquireOr === undefined
      ? lock.acquire(...names)
      : lock.acquireOr(names, new Result(request, what, idempotency, landings))
  }

  /**
   * Under the lock, until the scope closes. A request that is interrupted on its way in leaves no mark as if its owner had
   * died.
   */
  const admit = (request: IdempotencyRequest): Effect.Effect<Admission, LockError | IdempotencyError, Scope.Scope> =>
    Effect.flatMap(take(request), (taken) =>
      "_tag" in taken
        ? Effect.succeed(taken)
        : Effect.uninterruptible(Effect.flatMap(Effect.scope, (scope) => begin(request, taken, scope)))
    )

  const begin = (request: IdempotencyRequest, lease: Lease, scope: Scope.Scope) => {
    let ended = false
    const leave = (exit: Exit.Exit<unknown, unknown>) =>
      ended || Exit.isSuccess(exit) || !Cause.hasInterrupts(exit.cause)
        ? Effect.void
        : Effect.ignore(commit(request, lease, nothing))
    const begun = Effect.matchEffect(idempotency.begin(request, lease), {
      onFailure: (error) =>
        Effect.andThen(
          error.reason._tag === "IdempotencyStoreError" ? withdraw(request, lease) : Effect.void,
          Effect.fail(error)
        ),
      onSuccess: (answer): Effect.Effect<Admission> => {
        if (answer._tag === "Replayed") {
          ended = true
          land(request)
          return Effect.succeed(answer)
        }
        return Effect.succeed({
          _tag: "Admitted",
          lease,
          abandoned: answer.abandoned,
          commit: (ending: Ending) =>
            Effect.suspend(() => {
              ended = true
              return Effect.map(commit(request, lease, ending), (recorded) => {
                if (recorded) land(request)
                return recorded
              })
            })
        })
      }
    })
    return Effect.flatMap(Scope.addFinalizerExit(scope, leave), () => begun)
  }

  // Suspended, because whoever waits keeps it.
  const enter: SagaGuard["Service"]["enter"] = (request) =>
    Effect.suspend(() =>
      Effect.flatMap(lookup(request), (recorded) =>
        recorded === undefined ? admit(request) : Effect.succeed(recorded)
      )
    )

  const finish: SagaGuard["Service"]["finish"] = (request, fence, ending) =>
    Effect.catch(idempotency.end(request, { fence }, ending), (error) =>
      Effect.logInfo("the end of a recovered saga is not recorded", error)
    )

  return SagaGuard.of({ enter, finish })
})

export const layer: Layer.Layer<SagaGuard, never, DistributedLock | Idempotency> = Layer.effect(SagaGuard, make)

/** With idempotency switched off: nothing is looked up or recorded; admission and open marks stay. */
export const layerWithoutReplay: Layer.Layer<SagaGuard, never, DistributedLock | Idempotency> = Layer.effect(
  SagaGuard,
  Effect.map(make, (guard) => SagaGuard.of({ ...guard, enter: (request) => guard.enter(blind(request)) }))
)
