/** The last resort beside the log: this process' memory, so that it goes on trying for as long as it lives. */
import { Effect } from "effect"
import type { DeadLetterSpool } from "./DeadLetterSpool.ts"

/** Each is in the log already; beyond these, only there. */
const MOST = 10_000

export const makeHeldSpool = (): DeadLetterSpool => {
  const held = new Map<string, string>()
  return {
    name: "this process' memory",
    put: (id, json) =>
      Effect.suspend(() => {
        if (held.size >= MOST) return Effect.fail(new Error(`${MOST} are held already`))
        held.set(id, json)
        return Effect.void
      }),
    waiting: (limit) =>
      Effect.sync(() =>
        [...held].slice(0, limit).map(([id, json]) => {
          const remove = Effect.sync(() => void held.delete(id))
          return { id, json, remove, setAside: remove }
        })
      )
  }
}
