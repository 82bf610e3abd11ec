/**
 * Redrives due dead letters of the given sagas in the background, many processes side by side.
 *
 * **Details**
 *
 * Each letter is claimed by one worker, until a deadline: if the worker dies, another claims it. It runs under the lock
 * of the letter's resources; a lock that cannot be had or an open breaker is no try. Of one resource the newest letter
 * goes first. What fails is due again after 1, 2, 4 ... minutes, at most an hour, and stays, visible, after its last try.
 */
import { Effect, Layer, Schedule } from "effect"
import { DeadLetterQueue } from "../services/DeadLetterQueue.ts"
import { erase } from "./internal/Definition.ts"
import { claimUntil, redriveClaimed } from "./internal/RedriveQueue.ts"
import { sagaOf } from "./internal/Registry.ts"
import type { SagaDefinition } from "./internal/Request.ts"
import type * as Saga from "./Saga.ts"

export interface Options<Sagas extends ReadonlyArray<Saga.Any>> {
  readonly sagas: Sagas
  /** When to look for due letters; every 5 seconds unless said. As long as there are some it goes on without a pause. */
  readonly schedule?: Schedule.Schedule<unknown>
  /** How many at once; 4 unless said. */
  readonly concurrency?: number
}

const round = Effect.fnUntraced(function* (sagas: ReadonlyArray<SagaDefinition>, concurrency: number) {
  const queue = yield* DeadLetterQueue
  while (true) {
    const claimed = yield* queue.claimDue({
      sagas: sagas.map((saga) => saga.name),
      limit: concurrency,
      until: yield* claimUntil
    })
    if (claimed.length === 0) return
    yield* Effect.forEach(
      claimed,
      (letter) =>
        Effect.flatMap(redriveClaimed(sagas, letter), (redriven) =>
          Effect.logInfo(`dead letter ${letter.id} of ${letter.saga}: ${redriven._tag}`)
        ).pipe(Effect.catchCause((cause) => Effect.logError(`dead letter ${letter.id} could not be redriven`, cause))),
      { concurrency, discard: true }
    )
  }
})

export const layer = <const Sagas extends ReadonlyArray<Saga.Any>>(
  options: Options<Sagas>
): Layer.Layer<never, never, Saga.Services<Sagas[number]> | Saga.SagaServices> => {
  const sagas = options.sagas.map(sagaOf)
  const work = round(sagas, options.concurrency ?? 4).pipe(
    Effect.catchCause((cause) => Effect.logError("dead letters could not be looked for", cause)),
    Effect.repeat(options.schedule ?? Schedule.spaced("5 seconds"))
  )
  // The steps' services are those of the sagas that the type names.
  return erase(Layer.effectDiscard(Effect.forkScoped(work)))
}
