/** The end of a journal. */
import { Effect, Schedule } from "effect"
import type { JournalEnd } from "../../services/SagaJournal.ts"
import type { Root } from "./Frame.ts"

const brief = Schedule.exponential("50 millis").pipe(Schedule.upTo({ duration: "5 seconds" }))

/**
 * `spooled`: its dead letters are not in their table yet, so it stays open, and recovery closes it. `refused`: another
 * settles the saga. `unknown`: the journal does not answer.
 */
export type Closing = "closed" | "spooled" | "refused" | "unknown"

/** Asking again is how a lost reply is read back: an end that was stored is stored. */
export const closeBooks = Effect.fnUntraced(function* (
  root: Root,
  end: JournalEnd,
  hasLetters: boolean
): Effect.fn.Return<Closing> {
  if (!root.books.keeps) return "closed"
  const spooled = hasLetters && !(yield* root.deadLetters.drained)
  const ending = spooled ? root.books.write() : root.books.close(end)
  return yield* Effect.catch(ending, () => Effect.retry(ending, brief)).pipe(
    Effect.map((written): Closing => (written ? (spooled ? "spooled" : "closed") : "refused")),
    Effect.catch((error) =>
      Effect.as(Effect.logWarning("the end of a saga could not be journaled", error), "unknown" as const)
    )
  )
})
