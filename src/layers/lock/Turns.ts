/** The order of arrival within one process: who came first is served first, and only he asks a shared store. */
import { type Context, Duration, Effect, Scope } from "effect"
import { LockError, LockTimeout } from "../../schema/LockError.ts"
import type { Instead, Listener } from "../../services/DistributedLock.ts"
import { makePlaces, type Place, type Places } from "./Places.ts"
import { type Signal, Waiting } from "./Waiting.ts"

export const lockTimeout = (resources: ReadonlyArray<string>, waited: Duration.Duration) =>
  new LockError({ reason: new LockTimeout({ resource: resources.join(", "), waited }) })

/** Where all kinds of waiters stand, and for how many milliseconds at most. */
export interface Queues {
  readonly places: Places<Place<Signal>>
  readonly limit: number
}

/** One who waits for his turn, or for what may come instead. */
export abstract class Waiter<Q extends Queues, Taken, R, A extends object, E>
  extends Waiting<Taken | A, LockError | E, R>
  implements Place<Signal>, Listener
{
  readonly resources: ReadonlyArray<string>
  protected readonly queues: Q
  private readonly instead: Instead<A, E> | undefined
  private news = false

  constructor(
    queues: Q,
    resources: ReadonlyArray<string>,
    context: Context.Context<never>,
    instead: Instead<A, E> | undefined
  ) {
    super(context)
    this.queues = queues
    this.resources = resources
    this.instead = instead
  }

  get changed(): this {
    return this
  }

  /** What it does when its turn has come, uninterruptible. */
  protected abstract taken(): Effect.Effect<Taken, never, R>

  /**
   * What `taken` gives, which has to leave the place; or what came instead; `LockTimeout` when the wait limit has passed.
   * Then, and when it is interrupted, the place is left.
   */
  turn(): Effect.Effect<Taken | A, LockError | E, R> {
    return Effect.uninterruptibleMask((restore) => {
      if (!this.queues.places.isFree(this.resources)) return restore(this.suspend(this.queues.limit))
      this.queues.places.join(this)
      return this.taken()
    })
  }

  told(): void {
    this.news = true
    this.openUnsafe()
  }

  leave(): void {
    this.queues.places.leave(this)
  }

  protected override began(): void {
    if (this.queues.places.join(this)) this.openUnsafe()
    this.instead?.listen(this)
  }

  protected override rung(): Effect.Effect<Taken | A, LockError | E, R> | undefined {
    if (!this.news || this.instead === undefined) return this.queues.places.isFirst(this) ? this.take() : undefined
    this.news = false
    return Effect.matchCauseEffect(this.instead.look(), {
      onFailure: (cause) => this.giveUp(Effect.failCause(cause)),
      onSuccess: (found) => (found === undefined ? this.goOn() : this.giveUp(Effect.succeed(found)))
    })
  }

  protected override late(): Effect.Effect<Taken | A, LockError | E, R> {
    // One last try: it may have been told in the same moment.
    return this.rung() ?? this.giveUp(Effect.fail(lockTimeout(this.resources, Duration.millis(this.queues.limit))))
  }

  protected override abandon(): void {
    super.abandon()
    this.depart()
  }

  private depart(): void {
    this.instead?.stop(this)
    this.leave()
  }

  private take(): Effect.Effect<Taken, never, R> {
    this.instead?.stop(this)
    return Effect.uninterruptible(this.taken())
  }

  private giveUp<B, E2>(end: Effect.Effect<B, E2>): Effect.Effect<B, E2> {
    this.depart()
    return end
  }

  /** What it looked for was not there. */
  private goOn(): Effect.Effect<Taken | A, LockError | E, R> {
    return this.suspend(this.until - this.now())
  }
}

export interface Turn {
  readonly giveUp: Effect.Effect<void>
}

export interface Turns {
  /**
   * The turn for all the resources, until the scope closes or it is given up, or what came instead; `LockTimeout` when
   * the wait limit has passed.
   */
  readonly take: <A extends object = never, E = never>(
    resources: ReadonlyArray<string>,
    instead?: Instead<A, E>
  ) => Effect.Effect<Turn | A, LockError | E, Scope.Scope>
}

class Turning<A extends object, E> extends Waiter<Queues, Turn, Scope.Scope, A, E> {
  protected taken() {
    const giveUp = Effect.sync(() => this.leave())
    return Effect.flatMap(Effect.scope, (scope) => Effect.as(Scope.addFinalizer(scope, giveUp), { giveUp }))
  }
}

/** `limit` in milliseconds. */
export const makeTurns = (limit: number): Turns => {
  const queues: Queues = { places: makePlaces(), limit }
  return {
    take: (resources, instead) =>
      Effect.withFiber(({ context }) => new Turning(queues, resources, context, instead).turn())
  }
}
