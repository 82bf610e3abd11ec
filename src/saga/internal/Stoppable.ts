/** Running something in a fiber of its own, so that it can be stopped alone. */
import { type Context, Effect, Effectable, Exit, Fiber } from "effect"
import type { Erased } from "./Definition.ts"
import { made } from "./Made.ts"

export type Ended = Exit.Exit<unknown, unknown>

/**
 * What it runs, in which context, and what goes on around it, without an effect for each: one object for all, since there
 * is one for each step of each saga. When it starts, `tried` and then one of the last two are called, once and whatever
 * happens.
 *
 * As an effect it is what whoever waits does when he is interrupted. Its fields, and those of what extends it, are only
 * declared: else each would be set twice.
 */
export abstract class Stoppable extends Effectable.Class<unknown> {
  declare private readonly context: Context.Context<never>
  declare private fiber: Fiber.Fiber<unknown, unknown> | undefined
  declare private end: Exit.Exit<never, unknown> | undefined
  declare private isAbandoned: boolean

  constructor(context: Context.Context<never>) {
    super()
    this.context = context
    this.fiber = undefined
    this.end = undefined
    this.isAbandoned = false
  }

  /** What it runs, made anew each time; what throws is a defect. */
  protected abstract body(): Erased
  /** What does not end at once is watched: this may call `stop`, until `unwatch` is called. */
  protected watch(): void {}
  protected unwatch(): void {}
  /** It has ended, with this. */
  protected tried(_exit: Ended): void {}
  /** What is to be gone on with. */
  protected onward(exit: Ended): Erased {
    return exit
  }
  /** What is to be gone on with when `tried` or `onward` threw, as a function of the step's author may. */
  protected thrown(defect: unknown): Erased {
    return Effect.die(defect)
  }
  /** Whoever waited was interrupted. */
  protected abandoned(_exit: Ended): void {}

  /** It ends with this then, and has ended when whoever waits goes on. */
  stop(end: Exit.Exit<never, unknown>): void {
    this.end ??= end
    this.fiber?.interruptUnsafe()
  }

  /** Runs it; again only when it has ended, as a breaker of somebody else's may. */
  get running(): Erased {
    return Effect.callback((resume) => this.start(resume))
  }

  /** The same for whoever waits in an `Effect.callback` of his own. */
  start(resume: (next: Erased) => void): Effect.Effect<unknown> | undefined {
    const fiber = Effect.runForkWith(this.context)(made(() => this.body()))
    const ended = fiber.pollUnsafe()
    if (ended !== undefined) return this.endedAtOnce(ended, resume)
    this.fiber = fiber
    this.end = undefined
    this.isAbandoned = false
    this.watch()
    fiber.addObserver((exit) => {
      this.unwatch()
      const end = this.end ?? exit
      const next = this.told(end, this.isAbandoned)
      if (this.isAbandoned) this.abandoned(end)
      else resume(next)
    })
    return this
  }

  override asEffect(): Effect.Effect<unknown> {
    return Effect.suspend(() => {
      this.isAbandoned = true
      return this.fiber === undefined ? Effect.void : Fiber.interrupt(this.fiber)
    })
  }

  private told(exit: Ended, isAbandoned: boolean): Erased {
    try {
      this.tried(exit)
      return isAbandoned ? exit : this.onward(exit)
    } catch (defect) {
      return isAbandoned ? exit : this.thrown(defect)
    }
  }

  private endedAtOnce(exit: Ended, resume: (next: Erased) => void): Effect.Effect<unknown> | undefined {
    const next = this.told(exit, false)
    if (Exit.isExit(next)) {
      resume(next)
      return undefined
    }
    // In this turn the fiber might yield before it comes to what is next, and be interrupted in between.
    queueMicrotask(() => resume(next))
    return Effect.sync(() => this.abandoned(exit))
  }
}
