/**
 * The guard over any lock and any idempotency store: look up, lock, look again, admit; at the end compare and record.
 *
 * A caller's key is locked too, as a resource of its own, so that two payloads under one key never run at once.
 */
import { Cause, Effect, Exit, Layer, Scope } from "effect"
import type { IdempotencyError } from "../../schema/IdempotencyError.ts"
import { scopedKey } from "../../schema/IdempotencyKey.ts"
import type { LockError } from "../../schema/LockError.ts"
import { DistributedLock, type Lease } from "../../services/DistributedLock.ts"
import { type Ending, Idempotency, type IdempotencyRequest } from "../../services/Idempotency.ts"
import { type Admission, SagaGuard } from "../../services/SagaGuard.ts"
import { brief, locked, unrecorded } from "./Admissions.ts"
import { makeFlights } from "./Flights.ts"

const nothing: Ending = { _tag: "Nothing" }

const make = Effect.gen(function* () {
  const lock = yield* DistributedLock
  const idempotency = yield* Idempotency
  const flights = makeFlights()

  const lookup = (request: IdempotencyRequest) =>
    Effect.map(idempotency.lookup(request), (result) =>
      result === undefined ? undefined : ({ _tag: "Replayed", result } as const)
    )

  /** What became of an end whose reply was lost: asked, and if it was not stored, stored again. */
  const settle = (request: IdempotencyRequest, lease: Lease, ending: Ending) =>
    Effect.flatMap(idempotency.ended(request), (stored) =>
      stored ? Effect.void : idempotency.end(request, lease, ending)
    ).pipe(Effect.retry({ schedule: brief, while: (error) => error._tag === "IdempotencyError" }))

  const commit = (request: IdempotencyRequest, lease: Lease, ending: Ending) =>
    idempotency.end(request, lease, ending).pipe(
      Effect.catchTag("IdempotencyError", () => settle(request, lease, ending)),
      Effect.as(ending._tag !== "Nothing" && request.replay !== false),
      Effect.catchTags({
        // Without exclusion another's admission is no loss: this saga ends unrecorded.
        LockError: (error: LockError) => (lease.exclusive ? Effect.fail(error) : Effect.succeed(false)),
        IdempotencyError: (error: IdempotencyError) => unrecorded(request, lease, ending, error)
      })
    )

  /** The reply to its admission was lost, so it will not run; a mark would say that it ran and its owner died. */
  const withdraw = (request: IdempotencyRequest, lease: Lease) =>
    idempotency.end(request, lease, nothing).pipe(Effect.interruptible, Effect.timeout("1 second"), Effect.ignore)

  /** Under the lock. A request that is interrupted on its way in leaves no mark as if its owner had died. */
  const admit = (
    request: IdempotencyRequest,
    land: Effect.Effect<void>
  ): Effect.Effect<Admission, LockError | IdempotencyError, Scope.Scope> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const lease = yield* restore(lock.acquire(...locked(request)))
        let ended = false
        yield* Scope.addFinalizerExit(yield* Effect.scope, (exit) =>
          ended || Exit.isSuccess(exit) || !Cause.hasInterrupts(exit.cause)
            ? Effect.void
            : Effect.ignore(commit(request, lease, nothing))
        )
        const begun = yield* Effect.tapError(idempotency.begin(request, lease), (error) =>
          error.reason._tag === "IdempotencyStoreError" ? withdraw(request, lease) : Effect.void
        )
        if (begun._tag === "Replayed") {
          ended = true
          return yield* Effect.as(land, begun)
        }
        return {
          _tag: "Admitted",
          lease,
          abandoned: begun.abandoned,
          commit: (ending: Ending) =>
            Effect.suspend(() => {
              ended = true
              return Effect.tap(commit(request, lease, ending), (recorded) => (recorded ? land : Effect.void))
            })
        } as const
      })
    )

  const enter: SagaGuard["Service"]["enter"] = Effect.fnUntraced(function* (request) {
    const recorded = yield* lookup(request)
    if (recorded !== undefined) return recorded
    if (request.replay === false) return yield* admit(request, Effect.void)
    const { alone, land, landed } = yield* flights.board(request.derived ? request.key : scopedKey(request))
    if (alone) return yield* admit(request, land)

    const scope = yield* Effect.scope
    const own = yield* Scope.fork(scope)
    const overtaken = Effect.gen(function* () {
      while (true) {
        yield* landed.await
        landed.closeUnsafe()
        const result = yield* lookup(request)
        if (result !== undefined) return result
      }
    })
    // Whoever is not admitted gives up its place in the queue, and whatever it was given there at the last moment.
    return yield* Effect.onExit(
      Effect.raceFirst(Scope.provide(admit(request, land), own), overtaken),
      (exit: Exit.Exit<Admission, unknown>) =>
        Exit.isSuccess(exit) && exit.value._tag === "Admitted" ? Effect.void : Scope.close(own, Exit.interrupt())
    )
  })

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
  Effect.map(make, (guard) =>
    SagaGuard.of({ ...guard, enter: (request) => guard.enter({ ...request, replay: false }) })
  )
)
