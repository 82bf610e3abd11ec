/** The end of a journal. */
import { Effect, Schedule } from "effect"
import type { JournalEnd } from "../../services/SagaJournal.ts"
import type { BooksError } from "./Books.ts"
import type { Root } from "./Frame.ts"

const brief = Schedule.exponential("50 millis").pipe(Schedule.upTo({ duration: "5 seconds" }))

/**
 * `spooled`: its dead letters are not in their table yet, so it stays open, and recovery closes it. `refused`: another
 * settles the saga. `unknown`: the journal does not answer.
 */
export type Closing = "closed" | "spooled" | "refused" | "unknown"

/** Asking again is how a lost reply is read back: an end that was stored is stored. */
const surely = (ending: Effect.Effect<boolean, BooksError>, written: Closing): Effect.Effect<Closing> =>
  Effect.matchEffect(
    Effect.catch(ending, () => Effect.retry(ending, brief)),
    {
      onSuccess: (isWritten) => Effect.succeed(isWritten ? written : "refused"),
      onFailure: (error) => Effect.as(Effect.logWarning("the end of a saga could not be journaled", error), "unknown")
    }
  )

export const closeBooks = (root: Root, end: JournalEnd, hasLetters: boolean): Effect.Effect<Closing> => {
  const { books, deadLetters } = root
  if (!books.keeps) return Effect.succeed("closed")
  const closing = surely(books.close(end), "closed")
  if (!hasLetters) return closing
  return Effect.flatMap(deadLetters.drained, (drained) =>
    drained
      ? closing
      : surely(
          Effect.suspend(() => books.write()),
          "spooled"
        )
  )
}
