/** Adding a dead letter so that it is never lost: to the table, else to every spool, else to the log and memory. */
import { Effect, type Scope } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import { deadLetterId, type NewDeadLetter } from "../../schema/DeadLetter.ts"
import { bounded } from "../spool/Bounded.ts"
import type { DeadLetterSpool } from "../spool/DeadLetterSpool.ts"
import { type Drain, type Landing, makeDrain } from "../spool/Drain.ts"
import { makeHeldSpool } from "../spool/HeldSpool.ts"
import { entryJson } from "./DeadLetterRow.ts"

/** A database that hangs must not hold up a saga that is being undone: with a spool's, 5 seconds. */
const PATIENCE = "3 seconds"

/** Of the value itself, whatever state the server is in: bad data, a constraint, a limit. */
const refusals = /^(22|23|54)/

const isRefusal = (failure: unknown): boolean => {
  if (!isSqlError(failure)) return false
  const cause = failure.reason.cause
  if (typeof cause !== "object" || cause === null || !("code" in cause)) return false
  return typeof cause.code === "string" && refusals.test(cause.code)
}

export interface SpooledAdd extends Pick<Drain, "drain" | "spooled"> {
  readonly add: (entry: NewDeadLetter) => Effect.Effect<string>
}

export const makeSpooledAdd = Effect.fnUntraced(function* (
  sql: SqlClient,
  spools: ReadonlyArray<DeadLetterSpool>
): Effect.fn.Return<SpooledAdd, never, Scope.Scope> {
  // A statement that was given up on may still land: the id makes that the same entry.
  const insert = (json: string) => bounded(sql`SELECT dlq_add_entry(${json}::text::jsonb)`, PATIENCE)
  const held = makeHeldSpool()
  const { drain, put, spooled } = yield* makeDrain([...spools, held], (json) =>
    Effect.matchEffect(insert(json), {
      onSuccess: () => Effect.succeed<Landing>("landed"),
      onFailure: (failure) =>
        isRefusal(failure)
          ? Effect.as(Effect.logError("a spooled dead letter is none that its table can hold", failure), "refused")
          : Effect.as(Effect.logDebug("a spooled dead letter did not get into its table", failure), "later")
    })
  )

  const spool = Effect.fnUntraced(function* (id: string, json: string, cause: unknown) {
    const taken = yield* Effect.forEach(spools, (one) => put(one, id, json), { concurrency: "unbounded" })
    if (taken.includes(true)) {
      return yield* Effect.logError(`dead letter ${id} is spooled: the table did not take it`, cause)
    }
    yield* Effect.logFatal(JSON.stringify({ deadLetter: JSON.parse(json), cause: String(cause) }))
    yield* put(held, id, json)
  })

  return {
    // Whoever is interrupted has written already what has to be undone.
    add: (entry) =>
      Effect.uninterruptible(
        Effect.suspend(() => {
          const id = deadLetterId(entry)
          const json = entryJson(id, entry)
          return Effect.as(
            Effect.matchCauseEffect(insert(json), {
              onSuccess: () => Effect.void,
              onFailure: (cause) => spool(id, json, cause)
            }),
            id
          )
        })
      ),
    drain,
    spooled
  }
})
