/** The books of one execution as it starts. */
import { Effect } from "effect"
import type { CircuitBreakers } from "../../services/CircuitBreakers.ts"
import type { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import type { Books } from "./Books.ts"
import type { Frame, Root } from "./Frame.ts"
import type { Replay } from "./Replay.ts"
import type { SagaDefinition } from "./Request.ts"
import { type CallSurroundings, callSurroundings } from "./Surroundings.ts"

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
  Effect.map(Effect.context<CircuitBreakers | DeadLetterQueue>(), (context) =>
    rootIn(callSurroundings(context), saga, identity)
  )

/** In the surroundings of whoever runs it. */
export const rootIn = (
  { breakers, deadLetters, deadlines, probe, settings, stepMillis, together }: CallSurroundings,
  saga: Pick<SagaDefinition, "name" | "version">,
  { books, fence, freshFence, replay, resources, sagaId }: Identity
): Root => ({
  saga: saga.name,
  version: saga.version,
  sagaId,
  resources,
  fence,
  freshFence,
  books,
  replay,
  settings,
  stepMillis,
  probe,
  deadlines,
  together,
  breakers,
  deadLetters,
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
})

export const outermost = (root: Root, saga: SagaDefinition): Frame => ({
  root,
  call: null,
  path: "",
  steps: saga.steps,
  calls: []
})
