/** The books of one execution as it starts. */
import { Context, Effect } from "effect"
import { CircuitBreakers } from "../../services/CircuitBreakers.ts"
import { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import { SagaProbe } from "../../services/SagaProbe.ts"
import { SagaSettings } from "../../services/SagaSettings.ts"
import type { Books } from "./Books.ts"
import type { Frame, Root } from "./Frame.ts"
import type { Replay } from "./Replay.ts"
import type { SagaDefinition } from "./Request.ts"
import { makeWatch } from "./Watch.ts"

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
  Effect.contextWith((context: Context.Context<CircuitBreakers | DeadLetterQueue>) =>
    Effect.succeed(rootIn(context, saga, identity))
  )

const rootIn = (
  context: Context.Context<CircuitBreakers | DeadLetterQueue>,
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
  settings: Context.get(context, SagaSettings),
  probe: Context.get(context, SagaProbe),
  watch: makeWatch(context),
  breakers: Context.get(context, CircuitBreakers),
  deadLetters: Context.get(context, DeadLetterQueue),
  nextCall: replay?.nextCall ?? 0,
  nextFinished: 0,
  pivoted: replay !== undefined,
  pivotUnknown: false,
  closed: false,
  aborted: undefined,
  running: new Map(),
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
