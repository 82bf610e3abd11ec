/** Journals within one process: for tests, where a "crash" is an interrupted fiber and the journal outlives it. */
import { DateTime, Effect, Layer } from "effect"
import { Journal, type JournalFilter, type JournalRef } from "../../schema/Journal.ts"
import { SagaJournal } from "../../services/SagaJournal.ts"

const overlaps = (a: ReadonlyArray<string>, b: ReadonlyArray<string>) => a.some((resource) => b.includes(resource))

const matches = (journal: Journal, filter: JournalFilter): boolean =>
  (filter.status === undefined ||
    (filter.status === "stuck"
      ? journal.status !== "finished" && journal.problem !== null
      : journal.status === filter.status)) &&
  (filter.resource === undefined || journal.resources.includes(filter.resource)) &&
  (filter.saga === undefined || journal.saga === filter.saga) &&
  (filter.before === undefined || DateTime.isLessThan(journal.openedAt, filter.before))

/** Every operation is one synchronous step, so no two interleave. */
const make = (): SagaJournal => {
  // In the order of arrival.
  const journals = new Map<string, Journal>()
  const unfinished = () => [...journals.values()].filter((journal) => journal.status !== "finished")
  const change = (journal: Journal, changes: Partial<typeof Journal.Type>) =>
    Effect.map(DateTime.now, (updatedAt) => {
      journals.set(journal.sagaId, new Journal({ ...journal, ...changes, updatedAt }))
      return true
    })
  const owned = ({ sagaId }: JournalRef, owner: number) => {
    const journal = journals.get(sagaId)
    return journal?.owner === owner && journal.status !== "finished" ? journal : undefined
  }
  const refused = Effect.succeed(false)

  return {
    keeps: true,
    open: (saga, records = []) =>
      Effect.map(DateTime.now, (now) => {
        const inTheWay = unfinished().filter(
          (journal) => journal.sagaId !== saga.sagaId && overlaps(journal.resources, saga.resources)
        )
        if (inTheWay.length > 0) return inTheWay.sort((a, b) => b.fence - a.fence)
        if (journals.has(saga.sagaId)) return []
        journals.set(
          saga.sagaId,
          new Journal({
            ...saga,
            owner: saga.fence,
            status: "running",
            outcome: null,
            problem: null,
            result: null,
            records,
            openedAt: now,
            updatedAt: now
          })
        )
        return []
      }),
    append: (ref, owner, records) =>
      Effect.suspend(() => {
        const journal = owned(ref, owner)
        if (journal === undefined) return refused
        const undoing = records.some((record) => record._tag === "Undoing")
        return change(journal, {
          records: [...journal.records, ...records],
          ...(undoing ? { status: "compensating" } : {})
        })
      }),
    close: (ref, owner, records, end) =>
      Effect.suspend(() => {
        const journal = owned(ref, owner)
        if (journal === undefined) {
          const ended = journals.get(ref.sagaId)
          return Effect.succeed(ended?.owner === owner && ended.outcome === end.outcome)
        }
        return change(journal, {
          records: [...journal.records, ...records],
          status: "finished",
          problem: null,
          ...end
        })
      }),
    claim: (ref, from, to) =>
      Effect.suspend(() => {
        const journal = owned(ref, from)
        return journal === undefined || to <= from ? refused : change(journal, { owner: to })
      }),
    note: (ref, problem) =>
      Effect.suspend(() => {
        const journal = journals.get(ref.sagaId)
        if (journal === undefined || journal.status === "finished") return Effect.void
        return Effect.asVoid(change(journal, { problem }))
      }),
    get: (sagaId) => Effect.sync(() => journals.get(sagaId)),
    list: (filter = {}) =>
      Effect.sync(() => {
        const all = [...journals.values()]
        const from = filter.after === undefined ? 0 : all.findIndex(({ sagaId }) => sagaId === filter.after) + 1
        return all
          .slice(from)
          .filter((journal) => matches(journal, filter))
          .slice(0, filter.limit ?? 100)
      }),
    purge: (finishedBefore) =>
      Effect.sync(() => {
        let purged = 0
        for (const journal of journals.values()) {
          if (journal.status === "finished" && DateTime.isLessThan(journal.updatedAt, finishedBefore)) {
            journals.delete(journal.sagaId)
            purged++
          }
        }
        return purged
      })
  }
}

export const layer: Layer.Layer<never> = Layer.sync(SagaJournal, make)
