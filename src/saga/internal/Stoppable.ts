/** Running something in a fiber of its own, so that it can be stopped alone. */
import { type Context, Effect, type Exit, Fiber } from "effect"
import type { Erased } from "./Definition.ts"

/**
 * Runs the effect with that context. Only what does not end at once is watched: `watch` is given how to stop it and with
 * what that ends then, and gives back how to stop watching. Whatever stops it, it has ended when this does; `observe` sees
 * with what.
 */
export const stoppable = (
  effect: Erased,
  context: Context.Context<never>,
  watch: (stop: (end: Exit.Exit<never, unknown>) => void) => () => void,
  observe?: (exit: Exit.Exit<unknown, unknown>) => void
): Erased =>
  Effect.callback<unknown, unknown>((resume) => {
    const fiber = Effect.runForkWith(context)(effect)
    const ended = fiber.pollUnsafe()
    if (ended !== undefined) {
      observe?.(ended)
      return resume(ended)
    }
    let stopped: Exit.Exit<never, unknown> | undefined
    const ignore = watch((end) => {
      stopped ??= end
      fiber.interruptUnsafe()
    })
    fiber.addObserver((exit) => {
      const end = stopped ?? exit
      ignore()
      observe?.(end)
      resume(end)
    })
    return Fiber.interrupt(fiber)
  })
