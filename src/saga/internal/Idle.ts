/** Whether undoable calls of a saga are running: its end, and its point of no return, wait for them. */
import { Effect } from "effect"
import type { Root } from "./Frame.ts"

export const leave = (root: Root, call: number): void => {
  root.running.delete(call)
  if (root.running.size > 0 || root.idle.length === 0) return
  for (const resume of root.idle.splice(0)) resume()
}

/** Until no undoable call runs. */
export const whenIdle = (root: Root): Effect.Effect<void> =>
  Effect.suspend(() =>
    root.running.size === 0
      ? Effect.void
      : Effect.callback<void>((resume) => {
          root.idle.push(() => resume(Effect.void))
        })
  )
