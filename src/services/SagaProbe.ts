/**
 * Sees every attempt of every step, and may hinder it: for tests that explore what can go wrong, and for nothing else.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Saga, SagaMemory, SagaProbe, Step } from "effect-saga"
 *
 * const seen: Array<string> = []
 * const put = Step.make("rows.put", {
 *   input: Schema.String,
 *   execute: () => Effect.void,
 *   compensate: () => Effect.void
 * })
 * const save = Saga.make("Save", {
 *   payload: Schema.String,
 *   resource: (id) => id,
 *   steps: [put],
 *   run: (id) => Effect.andThen(put(id), Effect.die("after it"))
 * })
 * const watched = Effect.provideService(Effect.exit(save.execute("1")), SagaProbe, ({ kind, step }, attempt) => {
 *   seen.push(`${kind} ${step}`)
 *   return attempt
 * })
 * await Effect.runPromise(Effect.provide(watched, SagaMemory.layer))
 * console.log(seen) // [ 'execute rows.put', 'compensate rows.put' ]
 * ```
 */
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
