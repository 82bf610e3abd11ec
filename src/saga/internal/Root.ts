/** The books of one execution as it starts. */
import { Effect } from "effect"
import { CircuitBreakers } from "../../services/CircuitBreakers.ts"
import { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
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

export const makeRoot = Effect.fnUntraced(function* (
  saga: Pick<SagaDefinition, "name" | "version">,
  identity: Identity
): Effect.fn.Return<Root, never, CircuitBreakers | DeadLetterQueue> {
  return {
    ...identity,
    saga: saga.name,
    version: saga.version,
    settings: yield* SagaSettings,
    probe: yield* SagaProbe,
    breakers: yield* CircuitBreakers,
    deadLetters: yield* DeadLetterQueue,
    nextCall: identity.replay?.nextCall ?? 0,
    nextFinished: 0,
    pivoted: identity.replay !== undefined,
    pivotUnknown: false,
    closed: false,
    aborted: undefined,
    running: new Map(),
    idle: [],
    retriables: [],
    parked: [],
    failures: []
  }
})

export const outermost = (root: Root, saga: SagaDefinition): Frame => ({
  root,
  call: null,
  path: "",
  steps: saga.steps,
  calls: []
})
