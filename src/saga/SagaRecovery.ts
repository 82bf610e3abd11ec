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
import { DateTime, Duration, Effect, Layer, Metric, Schedule } from "effect"
import type { Journal } from "../schema/Journal.ts"
import { DistributedLock } from "../services/DistributedLock.ts"
import { SagaJournal } from "../services/SagaJournal.ts"
import { erase } from "./internal/Definition.ts"
import { findKnown, makeKnown } from "./internal/Known.ts"
import { sagaOf } from "./internal/Registry.ts"
import type { SagaDefinition } from "./internal/Request.ts"
import type { Services } from "./internal/Services.ts"
import { settle } from "./internal/Settle.ts"
import type * as Saga from "./Saga.ts"

export interface Options<Sagas extends ReadonlyArray<Saga.Any>> {
  readonly sagas: Sagas
  /** When to sweep; at the start and every 5 seconds unless said. */
  readonly schedule?: Schedule.Schedule<unknown>
  /** Sagas younger than this are left alone: the lock's lease is a good value. 30 seconds unless said. */
  readonly after?: Duration.Input
  /** How many at once; 4 unless said. */
  readonly concurrency?: number
}

const recovered = Metric.counter("saga_recoveries_total", {
  description: "Sagas without an owner, by what became of them",
  incremental: true
})
const count = (result: "found" | "undone" | "resumed" | "dead_lettered" | "stuck") =>
  Metric.update(Metric.withAttributes(recovered, { result }), 1)

/** A live owner keeps the lock: nobody queues up for it for long. */
const PATIENCE = Duration.millis(500)

const recover = Effect.fnUntraced(function* (
  journal: SagaJournal,
  sagas: ReadonlyArray<SagaDefinition>,
  found: Journal
): Effect.fn.Return<void, never, Services> {
  const lock = yield* DistributedLock
  yield* Effect.scoped(
    Effect.gen(function* () {
      const lease = yield* Effect.timeoutOption(lock.acquire(...found.resources), PATIENCE)
      if (lease._tag === "None") return
      const latest = yield* journal.get(found.sagaId)
      if (latest === undefined || latest.status === "finished") return
      yield* count("found")
      const settled = yield* settle(
        journal,
        latest,
        findKnown(journal, sagas, latest.saga, latest.version),
        lease.value
      )
      if (settled._tag === "Passed") return
      yield* count(settled._tag === "Undone" ? "undone" : settled._tag === "Resumed" ? "resumed" : "stuck")
      if (settled._tag === "Stuck") return
      if (settled.parked > 0) yield* count("dead_lettered")
      yield* Effect.logInfo(`${latest.saga} ${latest.sagaId} was left by its owner: ${settled._tag}`)
    })
  ).pipe(Effect.catchCause((cause) => Effect.logWarning(`${found.saga} ${found.sagaId} could not be looked at`, cause)))
})

/** One sweep over all unfinished sagas that are old enough. */
const sweep = Effect.fnUntraced(function* (
  sagas: ReadonlyArray<SagaDefinition>,
  after: Duration.Duration,
  concurrency: number
) {
  const journal = yield* SagaJournal
  const before = DateTime.subtractDuration(yield* DateTime.now, after)
  for (const status of ["running", "compensating"] as const) {
    let cursor: string | undefined
    while (true) {
      const page = yield* journal.list({ status, before, ...(cursor === undefined ? {} : { after: cursor }) })
      const last = page.at(-1)
      if (last === undefined) break
      cursor = last.sagaId
      yield* Effect.forEach(page, (found) => recover(journal, sagas, found), { concurrency, discard: true })
    }
  }
})

export const layer = <const Sagas extends ReadonlyArray<Saga.Any>>(
  options: Options<Sagas>
): Layer.Layer<never, never, Saga.Services<Sagas[number]> | Saga.SagaServices> => {
  const sagas = options.sagas.map(sagaOf)
  const after = Duration.fromInputUnsafe(options.after ?? "30 seconds")
  const sweeping = sweep(sagas, after, options.concurrency ?? 4).pipe(
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
