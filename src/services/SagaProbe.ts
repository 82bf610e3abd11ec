/** Sees every attempt of every step, and may hinder it: for tests that explore what can go wrong, and for nothing else. */
import { Context, type Effect } from "effect"

export interface ProbedAttempt {
  readonly sagaId: string
  /** The step's name. */
  readonly step: string
  readonly call: number
  readonly kind: "prepare" | "execute" | "compensate"
}

export type SagaProbe = <A, E>(attempt: ProbedAttempt, effect: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** Undefined: nothing is seen, and nothing is spent on it. */
export const SagaProbe = Context.Reference<SagaProbe | undefined>("effect-saga/services/SagaProbe", {
  defaultValue: () => undefined
})
