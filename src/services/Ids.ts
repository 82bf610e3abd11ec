/**
 * Where saga ids and lock tokens come from; a test gives its own to make them repeatable.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Ids, Saga, SagaMemory } from "effect-saga"
 *
 * let last = 0
 * const counted = Layer.succeed(Ids, { next: Effect.sync(() => `id-${++last}`) })
 * const nothing = Saga.make("Nothing", {
 *   payload: Schema.String,
 *   resource: (id) => id,
 *   steps: [],
 *   run: () => Effect.void
 * })
 * const receipt = nothing.executeReceipt("1").pipe(Effect.provide([SagaMemory.layer, counted]))
 * console.log((await Effect.runPromise(receipt)).sagaId) // id-1
 * ```
 */
import { randomUUID } from "node:crypto"
import { Context, Effect } from "effect"

/**
 * The same text in one piece. Node puts a UUID together of 15, which are kept with it, ten times its size, until one of its
 * characters is read. Both ways give the text: only where they seem to differ does the engine read one.
 */
export const whole = (id: string) => (id.charCodeAt(0) === 0 ? id.slice() : id)

export interface Ids {
  readonly next: Effect.Effect<string>
  /** The same without an effect around it, where that can be. */
  readonly draw?: () => string
}

const draw = () => whole(randomUUID())

export const Ids = Context.Reference<Ids>("effect-saga/services/Ids", {
  defaultValue: () => ({ next: Effect.sync(draw), draw })
})
