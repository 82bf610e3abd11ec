/** The books of one execution as it starts. */
import { Context, Duration, Effect } from "effect"
import { CircuitBreakers } from "../../services/CircuitBreakers.ts"
import { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import { deadlinesIn } from "../../services/Deadlines.ts"
import { SagaProbe } from "../../services/SagaProbe.ts"
import { SagaSettings } from "../../services/SagaSettings.ts"
import type { Books } from "./Books.ts"
import type { Frame, Root } from "./Frame.ts"
import type { Replay } from "./Replay.ts"
import type { SagaDefinition } from "./Request.ts"

export interface Identity {
  readonly sagaId: string
  readonly resources: ReadonlyArray<string>
  readonly fence: number
  readonly freshFence: Root["freshFence"]
  readonly books: Books
  readonly replay: Replay | undefined
}

export const makeRoot = (
  saga: Pick<SagaDefinition, "name" | "version">,
  identity: Identity
): Effect.Effect<Root, never, CircuitBreakers | DeadLetterQueue> =>
  Effect.map(Effect.context<CircuitBreakers | DeadLetterQueue>(), (context) => rootIn(context, saga, identity))

/** In the context of whoever runs it. */
export const rootIn = (
  context: Context.Context<CircuitBreakers | DeadLetterQueue>,
  saga: Pick<SagaDefinition, "name" | "version">,
  { books, fence, freshFence, replay, resources, sagaId }: Identity
): Root => {
  const settings = Context.get(context, SagaSettings)
  return {
    saga: saga.name,
    version: saga.version,
    sagaId,
    resources,
    fence,
    freshFence,
    books,
    replay,
    settings,
    stepMillis: Duration.toMillis(settings.stepTimeout),
    probe: Context.get(context, SagaProbe),
    deadlines: deadlinesIn(context),
    breakers: Context.get(context, CircuitBreakers),
    deadLetters: Context.get(context, DeadLetterQueue),
    nextCall: replay?.nextCall ?? 0,
    nextFinished: 0,
    pivoted: replay !== undefined,
    pivotUnknown: false,
    closed: false,
    aborted: undefined,
    running: [],
    idle: [],
    retriables: [],
    parked: [],
    failures: []
  }
}

export const outermost = (root: Root, saga: SagaDefinition): Frame => ({
  root,
  call: null,
  path: "",
  steps: saga.steps,
  calls: []
})
