/**
 * Everything a saga needs, in this process: for tests (virtual time works) and demos.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Saga, SagaMemory } from "effect-saga"
 *
 * let runs = 0
 * const count = Saga.make("Count", {
 *   payload: Schema.String,
 *   resource: (id) => id,
 *   steps: [],
 *   run: () => Effect.sync(() => void runs++)
 * })
 * const twice = Effect.andThen(count.execute("1"), count.execute("1"))
 * await Effect.runPromise(Effect.provide(twice, SagaMemory.layer))
 * console.log(runs) // 1
 * await Effect.runPromise(Effect.provide(twice, SagaMemory.layerWith({ idempotency: false })))
 * console.log(runs) // 3
 * ```
 */
import { Effect, Layer } from "effect"
import type { CircuitBreakers } from "../services/CircuitBreakers.ts"
import type { DeadLetterQueue } from "../services/DeadLetterQueue.ts"
import type { DistributedLock } from "../services/DistributedLock.ts"
import type { Idempotency } from "../services/Idempotency.ts"
import type { SagaGuard } from "../services/SagaGuard.ts"
import { SagaSettings } from "../services/SagaSettings.ts"
import type { Toggles } from "../services/Toggles.ts"
import * as Breakers from "./breakers/EffectBreakers.ts"
import * as ComposedGuard from "./guard/ComposedGuard.ts"
import * as MemoryDeadLetterQueue from "./memory/MemoryDeadLetterQueue.ts"
import * as MemoryIdempotency from "./memory/MemoryIdempotency.ts"
import * as MemoryLock from "./memory/MemoryLock.ts"

export type Everything = DistributedLock | Idempotency | SagaGuard | CircuitBreakers | DeadLetterQueue

/** With retries switched off: a failed attempt is the last one. */
export const settingsFor = (toggles: Toggles): Layer.Layer<never> =>
  toggles.retries === false
    ? Layer.effect(
        SagaSettings,
        Effect.map(SagaSettings, (settings) => ({ ...settings, retries: false }))
      )
    : Layer.empty

/** The guard over a lock and an idempotency store, with what the toggles leave of it. */
export const guardFor = (toggles: Toggles) =>
  toggles.idempotency === false ? ComposedGuard.layerWithoutReplay : ComposedGuard.layer

export const layerWith = (toggles: Toggles): Layer.Layer<Everything> =>
  Layer.mergeAll(
    guardFor(toggles).pipe(
      Layer.provideMerge(
        Layer.merge(toggles.locking === false ? MemoryLock.layerFenceOnly : MemoryLock.layer, MemoryIdempotency.layer)
      )
    ),
    toggles.breakers === false ? Breakers.layerOff : Breakers.layerMemory(),
    toggles.deadLetters === false ? MemoryDeadLetterQueue.layerOff : MemoryDeadLetterQueue.layer,
    settingsFor(toggles)
  )

export const layer: Layer.Layer<Everything> = layerWith({})
