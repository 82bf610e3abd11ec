/** What the interpreter does unless a step or a saga says otherwise; a layer or a test may replace it. */
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
