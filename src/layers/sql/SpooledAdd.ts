/** Adding a dead letter so that it is never lost: to the table, else to every spool, else to the log. */
import { Effect, Ref, Schedule, type Scope } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { deadLetterId, type NewDeadLetter } from "../../schema/DeadLetter.ts"
import type { DeadLetterSpool, SpooledLetter } from "../spool/DeadLetterSpool.ts"
import { entryJson } from "./DeadLetterRow.ts"

/** A database that hangs must not hold up a saga that is being undone. */
const PATIENCE = "5 seconds"

const withPatience = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.timeoutOrElse(effect, {
    duration: PATIENCE,
    orElse: () => Effect.fail(new Error(`no answer within ${PATIENCE}`))
  })

export interface SpooledAdd {
  readonly add: (entry: NewDeadLetter) => Effect.Effect<string>
  /** Takes in what is spooled; whether nothing is left. */
  readonly drain: Effect.Effect<boolean>
  /** How many different ones are known to wait in the spools. */
  readonly spooled: Effect.Effect<number>
}

export const makeSpooledAdd = Effect.fnUntraced(function* (
  sql: SqlClient,
  spools: ReadonlyArray<DeadLetterSpool>
): Effect.fn.Return<SpooledAdd, never, Scope.Scope> {
  const waiting = yield* Ref.make(0)
  // A statement that timed out may still land: the id makes that the same entry.
  const insert = (json: string) => withPatience(sql`SELECT dlq_add_entry(${json}::text::jsonb)`)

  const spool = Effect.fnUntraced(function* (id: string, json: string, cause: unknown) {
    const put = yield* Effect.forEach(
      spools,
      (one) =>
        Effect.matchCauseEffect(withPatience(one.put(id, json)), {
          onSuccess: () => Effect.succeed(true),
          onFailure: (problem) =>
            Effect.as(Effect.logWarning(`a dead letter could not be spooled in ${one.name}`, problem), false)
        }),
      { concurrency: "unbounded" }
    )
    if (put.includes(true)) {
      yield* Ref.update(waiting, (n) => n + 1)
      return yield* Effect.logError(`dead letter ${id} is spooled: the table did not take it`, cause)
    }
    yield* Effect.logFatal(JSON.stringify({ deadLetter: JSON.parse(json), cause: String(cause) }))
  })

  const isUp = Effect.match(withPatience(sql`SELECT 1`), { onSuccess: () => true, onFailure: () => false })

  /** Whether it is dealt with. What the table refuses though it is there stops nobody. */
  const take = Effect.fnUntraced(function* (one: DeadLetterSpool, letter: SpooledLetter) {
    const inserted = yield* Effect.result(insert(letter.json))
    if (inserted._tag === "Success") return yield* Effect.as(letter.remove, true)
    if (!(yield* isUp)) return false
    yield* Effect.logError(`dead letter ${letter.id} in ${one.name} cannot be read and is set aside`, inserted.failure)
    return yield* Effect.as(letter.setAside, true)
  })
  const drainOne = Effect.fnUntraced(function* (one: DeadLetterSpool) {
    while (true) {
      const letters = yield* one.waiting
      if (letters.length === 0) return []
      for (const letter of letters) {
        if (!(yield* take(one, letter))) return letters.map(({ id }) => id)
      }
    }
  })
  const drain = Effect.gen(function* () {
    const left = new Set<string>()
    let reached = true
    for (const one of spools) {
      const ids = yield* Effect.catchCause(drainOne(one), (cause) =>
        Effect.as(Effect.logWarning(`${one.name} could not be drained`, cause), undefined)
      )
      if (ids === undefined) reached = false
      else for (const id of ids) left.add(id)
    }
    yield* Ref.set(waiting, left.size)
    return reached && left.size === 0
  })
  yield* Effect.forkScoped(Effect.repeat(drain, Schedule.spaced("5 seconds")))

  return {
    add: Effect.fnUntraced(function* (entry) {
      const id = deadLetterId(entry)
      const json = entryJson(id, entry)
      yield* Effect.matchCauseEffect(insert(json), {
        onSuccess: () => Effect.void,
        onFailure: (cause) => spool(id, json, cause)
      })
      return id
    }),
    drain,
    spooled: Ref.get(waiting)
  }
})
