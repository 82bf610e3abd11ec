/** Taking spooled dead letters into their table: inserted first, removed then, so dying in between only repeats it. */
import { Deferred, Effect, Queue, Schedule, type Scope } from "effect"
import { bounded } from "./Bounded.ts"
import type { DeadLetterSpool, SpooledLetter } from "./DeadLetterSpool.ts"

/** `refused`: it can never be in the table as it is. `later`: it may be, once whatever is wrong is over. */
export type Landing = "landed" | "refused" | "later"

/** For a spool to answer. */
const PATIENCE = "5 seconds"
/** For a saga that ends: its journal stays open then, and what is spooled is drained without it. */
const LONGEST_WAIT = "10 seconds"
const EVERY = "5 seconds"
const BATCH = 1000
/** A table that takes none of so many takes none. */
const TRIES = 3

export interface Drain {
  /** Whether nothing is left in the spools; joins one that begins now, or the next. */
  readonly drain: Effect.Effect<boolean>
  /** Different ones that are known to wait: what this process spooled, and of others what the last drain has seen. */
  readonly spooled: Effect.Effect<number>
  readonly put: (spool: DeadLetterSpool, id: string, json: string) => Effect.Effect<boolean>
}

export const makeDrain = Effect.fnUntraced(function* (
  spools: ReadonlyArray<DeadLetterSpool>,
  insert: (json: string) => Effect.Effect<Landing>
): Effect.fn.Return<Drain, never, Scope.Scope> {
  const known = new Map(spools.map((spool) => [spool, new Set<string>()]))
  const knownIn = (spool: DeadLetterSpool) => known.get(spool) ?? new Set<string>()
  /** They come last the next time: what keeps failing stops nobody. */
  const failed = new Set<string>()

  const settle = (spool: DeadLetterSpool, letter: SpooledLetter, how: "remove" | "setAside") =>
    bounded(letter[how], PATIENCE).pipe(
      Effect.matchCauseEffect({
        onSuccess: () =>
          Effect.sync(() => {
            knownIn(spool).delete(letter.id)
            failed.delete(letter.id)
            return true
          }),
        onFailure: (cause) =>
          Effect.as(Effect.logWarning(`dead letter ${letter.id} stays in ${spool.name}`, cause), false)
      })
    )
  const take = Effect.fnUntraced(function* (spool: DeadLetterSpool, letter: SpooledLetter) {
    const landing = letter.json === undefined ? "refused" : yield* insert(letter.json)
    if (landing === "later") {
      failed.add(letter.id)
      return "later"
    }
    if (landing === "refused") {
      yield* Effect.logError(`dead letter ${letter.id} in ${spool.name} cannot be read and is set aside`)
    }
    return (yield* settle(spool, letter, landing === "refused" ? "setAside" : "remove")) ? "taken" : "kept"
  })

  /** What other processes spooled or drained is known from now on. */
  const look = Effect.fnUntraced(function* (spool: DeadLetterSpool) {
    const before = [...knownIn(spool)]
    const letters = yield* bounded(spool.waiting(BATCH), PATIENCE)
    const there = new Set(letters.map(({ id }) => id))
    if (letters.length < BATCH) for (const id of before) if (!there.has(id)) knownIn(spool).delete(id)
    for (const id of there) knownIn(spool).add(id)
    return letters.toSorted((a, b) => Number(failed.has(a.id)) - Number(failed.has(b.id)))
  })
  /** Whether it is empty. */
  const drainOne = Effect.fnUntraced(function* (spool: DeadLetterSpool) {
    let later = 0
    while (true) {
      const letters = yield* look(spool)
      if (letters.length === 0) return true
      let kept = 0
      for (const letter of letters) {
        const taken = yield* take(spool, letter)
        if (taken === "kept") kept++
        if (taken === "later" && ++later >= TRIES) return false
      }
      if (later + kept > 0) return false
    }
  })
  const drainAll = Effect.map(
    Effect.forEach(spools, (spool) =>
      Effect.catchCause(drainOne(spool), (cause) =>
        Effect.as(Effect.logWarning(`${spool.name} could not be drained`, cause), false)
      )
    ),
    (empty) => !empty.includes(false)
  )

  // However many sagas end at once, one drain runs; who asks meanwhile gets the next, which sees what they spooled.
  const asked = yield* Queue.unbounded<Deferred.Deferred<boolean>>()
  yield* Effect.forkScoped(
    Effect.forever(
      Effect.flatMap(Queue.takeAll(asked), (all) =>
        Effect.flatMap(drainAll, (empty) =>
          Effect.forEach(all, (one) => Deferred.succeed(one, empty), { discard: true })
        )
      )
    )
  )
  const ask = Effect.tap(Deferred.make<boolean>(), (one) => Queue.offer(asked, one))
  yield* Effect.forkScoped(Effect.repeat(Effect.flatMap(ask, Deferred.await), Schedule.spaced(EVERY)))

  return {
    drain: Effect.flatMap(ask, (one) =>
      Effect.timeoutOrElse(Deferred.await(one), { duration: LONGEST_WAIT, orElse: () => Effect.succeed(false) })
    ),
    spooled: Effect.sync(() => new Set([...known.values()].flatMap((ids) => [...ids])).size),
    put: (spool, id, json) =>
      bounded(spool.put(id, json), "2 seconds").pipe(
        Effect.matchCauseEffect({
          onSuccess: () =>
            Effect.as(
              Effect.sync(() => knownIn(spool).add(id)),
              true
            ),
          onFailure: (cause) =>
            Effect.as(Effect.logWarning(`a dead letter could not be spooled in ${spool.name}`, cause), false)
        })
      )
  }
})
