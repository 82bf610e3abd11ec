/** Whether undoable calls of a saga are running: its end, and its point of no return, wait for them. */
import { Effect } from "effect"
import { afterTurn } from "../../services/AfterTurn.ts"
import type { Root, RunningCall } from "./Frame.ts"

export const leave = ({ idle, running }: Root, call: RunningCall): void => {
  // Mostly it is the only one.
  if (running.length === 1 && running[0] === call) running.pop()
  else running.splice(running.indexOf(call), 1)
  if (running.length > 0 || idle.length === 0) return
  // Behind this turn: if the call failed, those that wait beside it are told first.
  afterTurn(() => {
    if (running.length === 0) for (const resume of idle.splice(0)) resume()
  })
}

/** Until no undoable call runs. */
export const whenIdle = (root: Root): Effect.Effect<void> =>
  Effect.suspend(() =>
    root.running.length === 0
      ? Effect.void
      : Effect.callback<void>((resume) => {
          root.idle.push(() => resume(whenIdle(root)))
        })
  )
