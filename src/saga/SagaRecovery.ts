/**
 * Finds journaled sagas whose owner is gone and brings them to their end: undone, or resumed past their point of no
 * return.
 *
 * **Details**
 *
 * A saga older than `after` is looked at by taking its resources' lock: who holds that is alive. The journal passes from
 * owner to owner by compare-and-set, so many processes may sweep at once, and one saga that cannot be settled stops no
 * other. Without a journal (`SagaJournal`) there is nothing to find.
 */
import { Duration, Effect, Layer, Schedule } from "effect"
import { SagaJournal } from "../services/SagaJournal.ts"
import { erase } from "./internal/Definition.ts"
import { makeKnown } from "./internal/Known.ts"
import { sagaOf } from "./internal/Registry.ts"
import { sweep } from "./internal/Sweep.ts"
import type * as Saga from "./Saga.ts"

export interface Options<Sagas extends ReadonlyArray<Saga.Any>> {
  readonly sagas: Sagas
  /** When to sweep; at the start and every 5 seconds unless said. */
  readonly schedule?: Schedule.Schedule<unknown>
  /** Sagas younger than this are left alone: the lock's lease is a good value. 30 seconds unless said. */
  readonly after?: Duration.Input
  /** How many at once; 16 unless said. */
  readonly concurrency?: number
}

export const layer = <const Sagas extends ReadonlyArray<Saga.Any>>(
  options: Options<Sagas>
): Layer.Layer<never, never, Saga.Services<Sagas[number]> | Saga.SagaServices> => {
  const sagas = options.sagas.map(sagaOf)
  const after = Duration.fromInputUnsafe(options.after ?? "30 seconds")
  const sweeping = sweep(sagas, after, options.concurrency ?? 16).pipe(
    Effect.catchCause((cause) => Effect.logError("unfinished sagas could not be looked for", cause)),
    Effect.repeat(options.schedule ?? Schedule.spaced("5 seconds"))
  )
  const start = Effect.gen(function* () {
    const services = yield* Effect.context<never>()
    // Whoever is admitted to a resource can now settle these sagas too.
    makeKnown(
      yield* SagaJournal,
      sagas.map((saga) => ({ saga, services }))
    )
    yield* Effect.forkScoped(sweeping)
  })
  // The steps' services are those of the sagas that the type names.
  return erase(Layer.effectDiscard(start))
}
