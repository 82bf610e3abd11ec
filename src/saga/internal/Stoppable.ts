/** Running something in a fiber of its own, so that it can be stopped alone. */
import { Effect, type Exit, Fiber } from "effect"
import type { Erased } from "./Definition.ts"

const atOnce = { startImmediately: true } as const

/**
 * Only what does not end at once is watched. `watch` is given how to stop it and with what that ends then, and gives back
 * how to stop watching. Whatever stops it, it has ended when this does.
 */
export const stoppable = (
  effect: Erased,
  watch: (stop: (end: Exit.Exit<never, unknown>) => void) => () => void
): Erased =>
  Effect.flatMap(
    Effect.forkChild(effect, atOnce),
    (fiber) =>
      fiber.pollUnsafe() ??
      Effect.callback<unknown, unknown>((resume) => {
        let stopped: Exit.Exit<never, unknown> | undefined
        const ignore = watch((end) => {
          stopped ??= end
          fiber.interruptUnsafe()
        })
        fiber.addObserver((exit) => {
          const end = stopped ?? exit
          ignore()
          resume(end)
        })
        return Effect.asVoid(Fiber.interrupt(fiber))
      })
  )
