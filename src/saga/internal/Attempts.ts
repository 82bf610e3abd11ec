/** One call of a step, outside in: retry, circuit breaker, timeout, the step's own effect. */
import { Cause, Clock, Context, Duration, Effect, Exit, Option, Pull, References, Schedule } from "effect"
import { CircuitBreakerError } from "effect/persistence/CircuitBreaker"
import { StepTimeout } from "../../schema/SagaError.ts"
import type { ProtectOptions, Told } from "../../services/CircuitBreakers.ts"
import type { Limit, Line } from "../../services/Deadlines.ts"
import type { SagaProbe } from "../../services/SagaProbe.ts"
import { SagaRun } from "../../services/SagaRun.ts"
import type { Erased, StepDefinition } from "./Definition.ts"
import { type Root, refusedFloor } from "./Frame.ts"
import { type Ended, Stoppable } from "./Stoppable.ts"

/** What is tried, for how long and how often. */
export interface Attempt {
  readonly root: Root
  readonly definition: StepDefinition
  readonly number: number
  readonly limit: Duration.Duration
  /** The same in milliseconds. */
  readonly millis: number
  readonly retry: Schedule.Schedule<unknown>
  /** Made anew for each attempt. */
  effect(): Erased
  /** `prepare` reads what `execute` will replace: its success tells the breaker nothing of the writes. */
  readonly kind: "prepare" | "execute" | "compensate"
  /** Sees the exit of each attempt that really ran: a breaker's rejection is none. */
  tried?(exit: Ended): void
}

/** An open breaker is not retried; contention for the probe of a half-open one is. A refusal by a floor is final. */
const isRetryable = (step: StepDefinition, error: unknown): boolean => {
  if (error instanceof CircuitBreakerError) return error.reason._tag === "CircuitHalfOpen"
  if (error instanceof StepTimeout) return true
  return refusedFloor(error) === undefined && step.isTransient(error)
}

/** What an attempt sees of its saga, and what is logged in it is marked with. */
const within = (context: Context.Context<never>, { definition, kind, number, root }: Attempt) => {
  const outer = Context.get(context, References.CurrentLogAnnotations)
  const annotations =
    kind === "compensate"
      ? { ...outer, step: definition.name, compensation: true }
      : { ...outer, step: definition.name }
  const run = { sagaId: root.sagaId, resources: root.resources, fence: root.fence, call: number }
  return Context.add(Context.add(context, SagaRun, run), References.CurrentLogAnnotations, annotations)
}

const probed = (attempt: Attempt, probe: SagaProbe): Erased => {
  const { definition, kind, number, root } = attempt
  const seen = { sagaId: root.sagaId, step: definition.name, call: number, kind }
  return probe(
    seen,
    Effect.suspend(() => attempt.effect())
  )
}

const begun = (attempt: Attempt): Erased => {
  const { probe } = attempt.root
  return probe === undefined ? attempt.effect() : probed(attempt, probe)
}

/** In a fiber of its own, within its time limit. */
class Timed extends Stoppable implements Limit {
  declare protected readonly attempt: Attempt
  declare until: number
  declare line: Line | undefined
  declare before: Limit | undefined
  declare after: Limit | undefined

  constructor(attempt: Attempt, context: Context.Context<never>) {
    super(within(context, attempt))
    this.attempt = attempt
    this.until = 0
    this.line = undefined
    this.before = undefined
    this.after = undefined
  }

  protected override body() {
    const { attempt } = this
    const { together } = attempt.root
    // Stopped before the end of the turn it is as one that was stopped at its first instruction: it may have done something.
    return together.isMany ? Effect.flatMap(together.turn, () => begun(attempt)) : begun(attempt)
  }
  protected override watch() {
    const { millis, root } = this.attempt
    root.deadlines.set(millis, this)
    root.together.begins()
  }
  protected override unwatch() {
    const { deadlines, together } = this.attempt.root
    deadlines.lift(this)
    together.ends()
  }
  expire() {
    const { definition, limit } = this.attempt
    this.stop(Exit.fail(new StepTimeout({ step: definition.name, after: limit })))
  }
  protected override tried(exit: Ended) {
    this.attempt.tried?.(exit)
  }
}

const protection = ({ definition, kind }: Attempt): ProtectOptions => ({
  isFailure: (error) => error instanceof StepTimeout || definition.isTransient(error),
  countSuccess: kind !== "prepare"
})

const once = (attempt: Attempt, context: Context.Context<never>): Erased => {
  const { definition, root } = attempt
  const { dependency } = definition
  const call = new Timed(attempt, context).running
  return dependency === undefined ? call : root.breakers.protect(dependency, protection(attempt))(call)
}

/** The original error survives when the schedule ends: the last attempt's. */
const again = Effect.fnUntraced(function* (attempt: Attempt, first: unknown): Effect.fn.Return<unknown, unknown> {
  const step = attempt.definition
  const next = yield* Schedule.toStep(attempt.retry)
  let error = first
  for (let failed = 1; ; failed++) {
    const now = yield* Clock.currentTimeMillis
    const delay = yield* next(now, error).pipe(
      Effect.map(([, duration]) => Option.some(duration)),
      Pull.catchDone(() => Effect.succeed(Option.none<Duration.Duration>()))
    )
    if (Option.isNone(delay)) return yield* Effect.fail(error)
    yield* Effect.logWarning(
      `attempt ${failed} failed, the next follows in ${Duration.format(delay.value)}`,
      error
    ).pipe(Effect.annotateLogs({ step: step.name, dependency: step.dependency ?? "none", attempt: failed }))
    yield* Effect.sleep(delay.value)
    const result = yield* Effect.result(trying(attempt))
    if (result._tag === "Success") return result.success
    error = result.failure
    if (!isRetryable(step, error)) return yield* Effect.fail(error)
  }
})

const trying = (attempt: Attempt): Erased => Effect.withFiber(({ context }) => once(attempt, context))

const isFinal = ({ definition, root }: Attempt, cause: Cause.Cause<unknown>): boolean => {
  if (!root.settings.retries) return true
  const error = Cause.findErrorOption(cause)
  return Option.isNone(error) || !isRetryable(definition, error.value)
}

const retrying = (attempt: Attempt, tried: Erased): Erased =>
  attempt.root.settings.retries
    ? Effect.catch(tried, (error) =>
        isRetryable(attempt.definition, error) ? again(attempt, error) : Effect.fail(error)
      )
    : tried

/** The bounds of all attempts of one call: `begin` tells, in the turn in which they start, if they may; then surely `ended`. */
export interface Bounds {
  begin(): boolean
  ended(exit: Ended): void
}

export const bounded = (bounds: Bounds, effect: () => Erased): Erased =>
  Effect.onExitPrimitive(
    Effect.suspend(() => (bounds.begin() ? effect() : Effect.interrupt)),
    (exit) => {
      bounds.ended(exit)
      return undefined
    }
  )

/** The first attempt where the breaker surely lets it run: no effect is made around it, since mostly it succeeds. */
class First extends Timed {
  declare private readonly bounds: Bounds
  declare private readonly tell: Told

  constructor(attempt: Attempt, context: Context.Context<never>, bounds: Bounds, tell: Told) {
    super(attempt, context)
    this.bounds = bounds
    this.tell = tell
  }

  protected override onward(exit: Ended) {
    const { attempt, bounds } = this
    // A success of a write is what it is.
    const left =
      exit._tag === "Success" && attempt.kind !== "prepare" ? this.tell(exit) : this.tell(exit, protection(attempt))
    if (left !== undefined) return bounded(bounds, () => retrying(attempt, Effect.andThen(left, exit)))
    if (exit._tag === "Failure" && !isFinal(attempt, exit.cause)) return bounded(bounds, () => retrying(attempt, exit))
    bounds.ended(exit)
    return exit
  }
  protected override thrown(defect: unknown) {
    const exit = Exit.die(defect)
    this.bounds.ended(exit)
    return exit
  }
  protected override abandoned(exit: Ended) {
    this.bounds.ended(exit._tag === "Failure" && Cause.hasInterrupts(exit.cause) ? exit : Exit.interrupt())
  }
}

/** Whom nothing has to be told. */
export const nobody: Bounds = { begin: () => true, ended: () => {} }
const passing: Told = () => undefined

/** The attempts of one call, in this context; fails with the last attempt's own error. */
export const attemptsIn = (context: Context.Context<never>, attempt: Attempt, bounds: Bounds): Erased =>
  Effect.callback((resume) => attemptIn(context, attempt, bounds, resume))

/** The same for whoever waits in an `Effect.callback` of his own. */
export const attemptIn = (
  context: Context.Context<never>,
  attempt: Attempt,
  bounds: Bounds,
  resume: (next: Erased) => void
): Effect.Effect<unknown> | undefined => {
  const { definition, root } = attempt
  const { dependency } = definition
  const tell = dependency === undefined ? passing : root.breakers.unhindered?.(dependency)
  if (tell !== undefined && bounds.begin()) return new First(attempt, context, bounds, tell).start(resume)
  resume(tell === undefined ? bounded(bounds, () => retrying(attempt, once(attempt, context))) : Effect.interrupt)
  return undefined
}

export const attempts = (attempt: Attempt): Erased =>
  Effect.withFiber(({ context }) => attemptsIn(context, attempt, nobody))
