/** Opening a journal: asked again when what stood in the way has ended meanwhile. */
import { Effect } from "effect"
import type { Journal } from "../../schema/Journal.ts"
import { JournalError } from "../../schema/JournalError.ts"

/**
 * `ask` yields the ids of those in the way, of whom `find` gives what is still unfinished, highest fence first. If there is
 * none the journal is open, and `opened` is told.
 */
export const opening = (
  ask: Effect.Effect<ReadonlyArray<string>, unknown>,
  find: (sagaIds: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Journal>, JournalError>,
  opened: () => void
): Effect.Effect<ReadonlyArray<Journal>, JournalError> => {
  const open: Effect.Effect<ReadonlyArray<Journal>, JournalError> = Effect.matchEffect(ask, {
    onFailure: (cause) => Effect.fail(new JournalError({ operation: "open", cause })),
    onSuccess: (sagaIds) => {
      if (sagaIds.length > 0) {
        return Effect.flatMap(find(sagaIds), (found) => (found.length > 0 ? Effect.succeed(found) : open))
      }
      opened()
      return Effect.succeed([])
    }
  })
  return open
}
