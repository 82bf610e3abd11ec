/**
 * What the interpreter does unless a step or a saga says otherwise; a layer or a test may replace it.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Layer, References, Schedule, Schema } from "effect"
 * import { Saga, SagaMemory, SagaSettings, Step } from "effect-saga"
 *
 * let attempts = 0
 * const put = Step.make("rows.put", {
 *   input: Schema.String,
 *   error: Schema.Literal("down"),
 *   execute: () => Effect.suspend(() => (++attempts < 6 ? Effect.fail("down" as const) : Effect.void)),
 *   compensate: () => Effect.void
 * })
 * const save = Saga.make("Save", {
 *   payload: Schema.String,
 *   error: Schema.Literal("down"),
 *   resource: (id) => id,
 *   steps: [put],
 *   run: (id) => put(id)
 * })
 * const eager = Layer.effect(
 *   SagaSettings,
 *   Effect.map(SagaSettings, (settings) => ({ ...settings, stepRetry: Schedule.spaced("1 millis") }))
 * )
 * const quiet = Effect.provideService(save.execute("1"), References.MinimumLogLevel, "Error")
 * await Effect.runPromise(Effect.provide(quiet, [SagaMemory.layer, eager]))
 * console.log(attempts) // 6
 * ```
 */
import { Context, Duration, Schedule } from "effect"

export interface SagaSettings {
  /** Whether failed attempts and failed compensations are retried. */
  readonly retries: boolean
  /** Of a step's attempts: after 1, 2 and 4 seconds. */
  readonly stepRetry: Schedule.Schedule<unknown>
  /** Of one attempt. */
  readonly stepTimeout: Duration.Duration
  readonly compensationRetry: Schedule.Schedule<unknown>
  /** Of one attempt to compensate. */
  readonly compensationTimeout: Duration.Duration
  /** Of a recorded result, in UTF-16 units of its JSON text. */
  readonly maxResultSize: number
}

const backoff = Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 3 }))

export const SagaSettings = Context.Reference<SagaSettings>("effect-saga/services/SagaSettings", {
  defaultValue: () => ({
    retries: true,
    stepRetry: backoff,
    stepTimeout: Duration.seconds(10),
    compensationRetry: backoff,
    compensationTimeout: Duration.seconds(30),
    maxResultSize: 1024 * 1024
  })
})
