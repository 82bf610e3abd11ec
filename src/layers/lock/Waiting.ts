/**
 * Waiting without a fiber of one's own: the fiber that waits is suspended once, until it has news or its time is up. Many
 * may wait, so what is kept for each is one object and what Effect keeps of a suspended fiber.
 */
import { Clock, Context, Effect, Effectable, Exit } from "effect"
import { deadlinesIn, type Limit, type Line } from "../../services/Deadlines.ts"

/** What can be opened to say that there is news: a latch, or something that waits. */
export interface Signal {
  readonly openUnsafe: () => unknown
}

/** One that waits, by one fiber at a time; as an effect it is what that fiber does when it is interrupted meanwhile. */
export abstract class Waiting<A, E, R = never> extends Effectable.Class<void> implements Signal, Limit {
  until = 0
  line: Line | undefined = undefined
  before: Limit | undefined = undefined
  after: Limit | undefined = undefined
  protected readonly context: Context.Context<never>
  private open = false
  private resume: ((effect: Effect.Effect<A, E, R>) => void) | undefined = undefined

  /** The context has the clock by which it waits. */
  constructor(context: Context.Context<never>) {
    super()
    this.context = context
  }

  /** It is suspended now. */
  protected began(): void {}
  /** What it goes on with now that there is news; undefined if it goes on waiting. */
  protected abstract rung(): Effect.Effect<A, E, R> | undefined
  /** What it goes on with now that its time is up. */
  protected abstract late(): Effect.Effect<A, E, R>

  /**
   * There is news. Nobody is resumed by whoever brings it: who is resumed may have news for the next before it suspends
   * again, and so on, each on the stack of the one before.
   */
  openUnsafe(): boolean {
    if (this.open) return false
    this.open = true
    if (this.resume !== undefined) this.schedule()
    return true
  }

  /**
   * Until there is news, or so many milliseconds have passed. What it goes on with is the first thing that its fiber does
   * then: nothing can interrupt it before.
   */
  suspend(millis: number): Effect.Effect<A, E, R> {
    return Effect.callback<A, E, R>((resume) => {
      this.resume = resume
      deadlinesIn(this.context).set(millis, this)
      this.began()
      if (this.open) this.schedule()
      return this
    })
  }

  override asEffect(): Effect.Effect<void> {
    return Effect.sync(() => this.abandon())
  }

  expire(): void {
    this.answer(this.late())
  }

  /** It was interrupted while it waited, or in what it went on with. */
  protected abandon(): void {
    this.resume = undefined
    deadlinesIn(this.context).lift(this)
  }

  protected now(): number {
    return Context.get(this.context, Clock.Clock).currentTimeMillisUnsafe()
  }

  private schedule(): void {
    queueMicrotask(() => this.look())
  }

  private look(): void {
    if (this.resume === undefined) return
    this.open = false
    const effect = this.rung()
    if (effect !== undefined) this.answer(effect)
  }

  private answer(effect: Effect.Effect<A, E, R>): void {
    const { resume } = this
    this.resume = undefined
    deadlinesIn(this.context).lift(this)
    resume?.(effect)
  }
}

const rang = Exit.succeed(true)
const timeIsUp = Exit.succeed(false)

/** Whether it was rung before its time was up. */
export class Bell extends Waiting<boolean, never> {
  protected rung() {
    return rang
  }
  protected late() {
    return timeIsUp
  }
}
