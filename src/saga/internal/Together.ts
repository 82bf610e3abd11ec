/**
 * Attempts that are to begin in one turn of the event loop, while many run, begin together at its end: one after the other
 * they find the code that each of them needs in the processor's caches.
 */
import { Context, Effect, Scheduler } from "effect"

/** So many are many, whatever their sagas; those that wait for the end of the turn are running too. */
const MANY = 16

export class Together {
  private readonly dispatcher: Scheduler.SchedulerDispatcher
  private running = 0

  constructor(scheduler: Scheduler.Scheduler) {
    this.dispatcher = scheduler.makeDispatcher()
  }

  begins(): void {
    this.running++
  }

  ends(): void {
    this.running--
  }

  /** Whether what begins now is to wait for `turn`. */
  get isMany(): boolean {
    return this.running >= MANY
  }

  /** The end of this turn, in the order in which it is waited for. */
  readonly turn: Effect.Effect<void> = Effect.callback((resume) => {
    this.dispatcher.scheduleTask(() => resume(Effect.void), 0)
  })
}

const byScheduler = new WeakMap<Scheduler.Scheduler, Together>()

/** By the scheduler of this context: a test's own, or the one of the whole program. */
export const togetherIn = (context: Context.Context<never>): Together => {
  const scheduler = Context.get(context, Scheduler.Scheduler)
  const known = byScheduler.get(scheduler)
  if (known !== undefined) return known
  const together = new Together(scheduler)
  byScheduler.set(scheduler, together)
  return together
}
