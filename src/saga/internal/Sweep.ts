/** Finding journaled sagas whose owner is gone, each looked at in isolation from the others. */
import { DateTime, Duration, Effect, Metric } from "effect"
import type { Journal } from "../../schema/Journal.ts"
import { DistributedLock } from "../../services/DistributedLock.ts"
import { SagaJournal } from "../../services/SagaJournal.ts"
import { findKnown } from "./Known.ts"
import type { SagaDefinition } from "./Request.ts"
import type { Services } from "./Services.ts"
import { settle } from "./Settle.ts"

const recovered = Metric.counter("saga_recoveries_total", {
  description: "Sagas without an owner, by what became of them",
  incremental: true
})
const count = (result: "found" | "undone" | "resumed" | "dead_lettered" | "stuck") =>
  Metric.update(Metric.withAttributes(recovered, { result }), 1)

/** A live owner keeps the lock: nobody queues up for it for long. */
const PATIENCE = Duration.millis(250)

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
export const sweep = Effect.fnUntraced(function* (
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
