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
import { type Flight, makeFlights } from "./Flights.ts"

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

  /**
   * Under the lock, until the scope closes. A request that is interrupted on its way in leaves no mark as if its owner had
   * died. `flight` is left with the lock.
   */
  const admit = (
    request: IdempotencyRequest,
    board: () => Flight | undefined
  ): Effect.Effect<Admission, LockError | IdempotencyError, Scope.Scope> =>
    Effect.uninterruptibleMask((restore) => {
      const flight = board()
      return Effect.matchCauseEffect(restore(lock.acquire(...locked(request))), {
        onFailure: (cause) => {
          flight?.leave()
          return Effect.failCause(cause)
        },
        onSuccess: (lease) => Effect.flatMap(Effect.scope, (scope) => begin(request, lease, flight, scope))
      })
    })

  const begin = (request: IdempotencyRequest, lease: Lease, flight: Flight | undefined, scope: Scope.Scope) => {
    let ended = false
    const leave = (exit: Exit.Exit<unknown, unknown>) => {
      flight?.leave()
      return ended || Exit.isSuccess(exit) || !Cause.hasInterrupts(exit.cause)
        ? Effect.void
        : Effect.ignore(commit(request, lease, nothing))
    }
    const begun = Effect.matchEffect(idempotency.begin(request, lease), {
      onFailure: (error) =>
        Effect.andThen(
          error.reason._tag === "IdempotencyStoreError" ? withdraw(request, lease) : Effect.void,
          Effect.fail(error)
        ),
      onSuccess: (answer): Effect.Effect<Admission> => {
        if (answer._tag === "Replayed") {
          ended = true
          flight?.land()
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
                if (recorded) flight?.land()
                return recorded
              })
            })
        })
      }
    })
    return Effect.andThen(Scope.addFinalizerExit(scope, leave), begun)
  }

  /** The result, once another has it recorded. */
  const overtaken = Effect.fnUntraced(function* (request: IdempotencyRequest, { landed }: Flight) {
    while (true) {
      yield* landed.await
      landed.closeUnsafe()
      const result = yield* lookup(request)
      if (result !== undefined) return result
    }
  })

  const enter: SagaGuard["Service"]["enter"] = Effect.fnUntraced(function* (request) {
    const recorded = yield* lookup(request)
    if (recorded !== undefined) return recorded
    if (request.replay === false) return yield* admit(request, () => undefined)
    const what = request.derived ? request.key : scopedKey(request)
    if (flights.isEmpty(what)) return yield* admit(request, () => flights.board(what))

    const scope = yield* Effect.scope
    const own = yield* Scope.fork(scope)
    return yield* Effect.uninterruptibleMask((restore) => {
      const flight = flights.board(what)
      // Whoever is not admitted gives up its place in the queue, and whatever it was given there at the last moment.
      return Effect.onExit(
        restore(
          Effect.raceFirst(
            Scope.provide(
              admit(request, () => flight),
              own
            ),
            overtaken(request, flight)
          )
        ),
        (exit: Exit.Exit<Admission, unknown>) => {
          if (Exit.isSuccess(exit) && exit.value._tag === "Admitted") return Effect.void
          flight.leave()
          return Scope.close(own, Exit.interrupt())
        }
      )
    })
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
