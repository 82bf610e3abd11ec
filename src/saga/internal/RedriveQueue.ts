/** Claiming dead letters, running them again, and telling the queue what became of them. */
import { DateTime, Duration, Effect } from "effect"
import type { DeadLetter, DeadLetterFilter } from "../../schema/DeadLetter.ts"
import { DeadLetterError } from "../../schema/DeadLetterError.ts"
import { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import { typeOf } from "./Park.ts"
import { type Redriven, redriveLetter } from "./Redrive.ts"
import type { SagaDefinition } from "./Request.ts"
import type { Services } from "./Services.ts"

/** Longer than the wait for a lock and one compensation take; a claimer that is gone by then gives way to another. */
const CLAIM = Duration.minutes(2)
const LONGEST_DELAY = Duration.hours(1)

export const claimUntil = Effect.map(DateTime.now, (now) => DateTime.addDuration(now, CLAIM))

/** After 1, 2, 4 ... minutes, at most an hour. */
const backoff = (tries: number) => Duration.min(Duration.minutes(2 ** Math.min(tries - 1, 10)), LONGEST_DELAY)

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

/** Runs a claimed letter and settles the claim. */
export const redriveClaimed = Effect.fnUntraced(function* (
  sagas: ReadonlyArray<SagaDefinition>,
  letter: DeadLetter
): Effect.fn.Return<Redriven, DeadLetterError, Services> {
  const queue = yield* DeadLetterQueue
  const now = yield* DateTime.now
  const redriven = yield* Effect.onInterrupt(redriveLetter(sagas, letter), () =>
    Effect.ignore(queue.release(letter, { dueAt: now, counts: false }))
  )
  switch (redriven._tag) {
    case "Resolved":
      yield* queue.resolve(letter.id, "redrive", redriven.notes)
      break
    case "Failed":
      yield* queue.release(letter, {
        dueAt: DateTime.addDuration(now, backoff(letter.retryCount)),
        counts: true,
        error: { type: typeOf(redriven.error), message: messageOf(redriven.error) }
      })
      break
    case "Waiting":
      yield* queue.release(letter, { dueAt: redriven.dueAt, counts: false })
      break
    case "Impossible":
      yield* queue.release(letter, {
        dueAt: DateTime.addDuration(now, LONGEST_DELAY),
        counts: false,
        problem: redriven.problem
      })
  }
  return redriven
})

/** The reason why it did not end well; undefined when it is resolved. */
const problemOf = (redriven: Redriven): string | undefined => {
  if (redriven._tag === "Resolved") return undefined
  return redriven._tag === "Failed" ? `it failed again: ${messageOf(redriven.error)}` : redriven.problem
}

export const redriveOne = Effect.fnUntraced(function* (
  sagas: ReadonlyArray<SagaDefinition>,
  id: string
): Effect.fn.Return<DeadLetter, DeadLetterError, Services> {
  const queue = yield* DeadLetterQueue
  const claimed = yield* queue.claim(id, yield* claimUntil)
  const problem =
    claimed === undefined ? "somebody else is redriving it" : problemOf(yield* redriveClaimed(sagas, claimed))
  if (problem === undefined) return yield* queue.get(id)
  return yield* new DeadLetterError({ reason: { _tag: "NotRedrivable", id, problem } })
})

export interface RedrivenAll {
  readonly redriven: number
  readonly failed: number
  readonly firstError: string | undefined
}

/**
 * All that wait, whether or not they are due, each tried once. Of one resource the newest goes first and the older ones
 * follow, so it is gone through until nothing more can be claimed.
 */
export const redriveAll = Effect.fnUntraced(function* (
  sagas: ReadonlyArray<SagaDefinition>,
  filter: DeadLetterFilter
): Effect.fn.Return<RedrivenAll, DeadLetterError, Services> {
  const queue = yield* DeadLetterQueue
  const failures = new Map<string, string>()
  const tried = new Set<string>()
  let redriven = 0
  for (let progress = true; progress; ) {
    progress = false
    let after = filter.after
    while (true) {
      const page = yield* queue.list({ ...filter, status: "pending", ...(after === undefined ? {} : { after }) })
      const last = page.at(-1)
      if (last === undefined) break
      after = last.id
      for (const { id } of page) {
        if (tried.has(id)) continue
        const claimed = yield* Effect.result(queue.claim(id, yield* claimUntil))
        if (claimed._tag === "Failure") {
          // It waits for a newer one, or was closed meanwhile.
          if (claimed.failure.reason._tag !== "NotRedrivable") return yield* claimed.failure
          failures.set(id, claimed.failure.reason.problem)
        } else if (claimed.success !== undefined) {
          tried.add(id)
          failures.delete(id)
          progress = true
          const problem = problemOf(yield* redriveClaimed(sagas, claimed.success))
          if (problem === undefined) redriven++
          else failures.set(id, problem)
        }
      }
    }
  }
  return { redriven, failed: failures.size, firstError: failures.values().next().value }
})
