/** What sagas need of the context they are executed in. */
import { Context, Duration, References } from "effect"
import { CircuitBreakers } from "../../services/CircuitBreakers.ts"
import { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import { type Deadlines, deadlinesIn } from "../../services/Deadlines.ts"
import { DistributedLock } from "../../services/DistributedLock.ts"
import { Ids } from "../../services/Ids.ts"
import { SagaGuard } from "../../services/SagaGuard.ts"
import { SagaJournal } from "../../services/SagaJournal.ts"
import { SagaProbe } from "../../services/SagaProbe.ts"
import { SagaSettings } from "../../services/SagaSettings.ts"
import { isTraced } from "../../services/Traced.ts"
import type { Services } from "./Services.ts"
import { type Together, togetherIn } from "./Together.ts"

/** What calls of steps need, by whomever the saga is run or undone. */
export interface CallSurroundings {
  readonly settings: SagaSettings
  /** Of `settings.stepTimeout`. */
  readonly stepMillis: number
  readonly probe: SagaProbe | undefined
  readonly deadlines: Deadlines
  readonly together: Together
  readonly breakers: CircuitBreakers["Service"]
  readonly deadLetters: DeadLetterQueue["Service"]
}

export interface Surroundings extends CallSurroundings {
  readonly ids: Ids
  readonly guard: SagaGuard["Service"]
  readonly lock: DistributedLock["Service"]
  readonly journal: SagaJournal
  readonly annotations: Readonly<Record<string, unknown>>
  readonly isTraced: boolean
}

export const callSurroundings = (context: Context.Context<CircuitBreakers | DeadLetterQueue>): CallSurroundings => {
  const settings = Context.get(context, SagaSettings)
  return {
    settings,
    stepMillis: Duration.toMillis(settings.stepTimeout),
    probe: Context.get(context, SagaProbe),
    deadlines: deadlinesIn(context),
    together: togetherIn(context),
    breakers: Context.get(context, CircuitBreakers),
    deadLetters: Context.get(context, DeadLetterQueue)
  }
}

const known = new WeakMap<Context.Context<Services>, Surroundings>()

/** Looked up once for all sagas that are executed in one context, as a server's mostly are. */
export const surroundingsOf = (context: Context.Context<Services>): Surroundings => {
  const before = known.get(context)
  if (before !== undefined) return before
  const surroundings = {
    ...callSurroundings(context),
    ids: Context.get(context, Ids),
    guard: Context.get(context, SagaGuard),
    lock: Context.get(context, DistributedLock),
    journal: Context.get(context, SagaJournal),
    annotations: Context.get(context, References.CurrentLogAnnotations),
    isTraced: isTraced(context)
  }
  known.set(context, surroundings)
  return surroundings
}
