/** Running something in a fiber of its own, so that it can be stopped alone. */
import { type Context, Effect, Exit, Fiber } from "effect"
import type { Erased } from "./Definition.ts"

type Ended = Exit.Exit<unknown, unknown>

/**
 * What goes on around it, without an effect for each. If it starts, `tried` and then one of the last two are called, once
 * and whatever happens.
 */
export interface Course {
  /** In the turn in which it starts: whether it may. */
  readonly begin?: () => boolean
  /** It has ended, with this. */
  readonly tried?: (exit: Ended) => void
  /** What is to be gone on with. */
  readonly onward: (exit: Ended) => Erased
  /** Whoever waited was interrupted. */
  readonly abandoned?: (exit: Ended) => void
}

const plain: Course = { onward: (exit) => exit }

/**
 * Runs the effect with that context. Only what does not end at once is watched: `watch` is given how to stop it and with
 * what that ends then, and gives back how to stop watching. Whatever stops it, it has ended when this does.
 */
export const stoppable = (
  effect: Erased,
  context: Context.Context<never>,
  watch: (stop: (end: Exit.Exit<never, unknown>) => void) => () => void,
  course: Course = plain
): Erased =>
  Effect.callback<unknown, unknown>((resume) => {
    if (course.begin?.() === false) return resume(Effect.interrupt)
    const fiber = Effect.runForkWith(context)(effect)
    const ended = fiber.pollUnsafe()
    if (ended !== undefined) {
      course.tried?.(ended)
      const next = course.onward(ended)
      if (Exit.isExit(next)) return resume(next)
      // In this turn the fiber might yield before it comes to what is next, and be interrupted in between.
      queueMicrotask(() => resume(next))
      return Effect.sync(() => course.abandoned?.(ended))
    }
    let isAbandoned = false
    let stopped: Exit.Exit<never, unknown> | undefined
    const ignore = watch((end) => {
      stopped ??= end
      fiber.interruptUnsafe()
    })
    fiber.addObserver((exit) => {
      ignore()
      const end = stopped ?? exit
      course.tried?.(end)
      if (isAbandoned) course.abandoned?.(end)
      else resume(course.onward(end))
    })
    return Effect.suspend(() => {
      isAbandoned = true
      return Fiber.interrupt(fiber)
    })
  })
