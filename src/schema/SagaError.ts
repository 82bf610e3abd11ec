/** How a saga ends badly, beside its own typed errors. */
import { Schema } from "effect"

/** One attempt of a step took longer than its limit. Whether the store applied it is not known. */
export class StepTimeout extends Schema.TaggedError<StepTimeout>()("StepTimeout", {
  step: Schema.String,
  after: Schema.Duration
}) {
  override get message(): string {
    return `${this.step} did not answer within ${this.after}`
  }
}

/** The saga took longer than its limit before its point of no return; it was undone. */
export class SagaTimeout extends Schema.TaggedError<SagaTimeout>()("SagaTimeout", {
  saga: Schema.String,
  after: Schema.Duration
}) {
  override get message(): string {
    return `${this.saga} did not end within ${this.after}`
  }
}

/** Every step ran, and whether the end was stored could not be learnt; look the saga up by its id. */
export class OutcomeUnknown extends Schema.TaggedError<OutcomeUnknown>()("OutcomeUnknown", {
  sagaId: Schema.String
}) {
  override get message(): string {
    return `every step of saga ${this.sagaId} ran, but whether its end was stored is not known`
  }
}

/** The payload does not fit the saga's schema. Nothing ran. */
export class InvalidPayload extends Schema.TaggedError<InvalidPayload>()("InvalidPayload", {
  saga: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `the payload of ${this.saga} is not valid: ${this.problem}`
  }
}

/** Some step could not be undone. Both sides survive: what failed the saga, and each failed compensation. */
export class CompensationError extends Schema.TaggedError<CompensationError>()("CompensationError", {
  saga: Schema.String,
  sagaId: Schema.String,
  cause: Schema.Defect(),
  failures: Schema.Array(
    Schema.Struct({
      step: Schema.String,
      deadLetterId: Schema.String,
      cause: Schema.Defect()
    })
  )
}) {
  override get message(): string {
    const letters = this.failures.map((failure) => `${failure.step} (dead letter ${failure.deadLetterId})`)
    return `${this.saga} ${this.sagaId} failed and could not be undone in: ${letters.join(", ")}`
  }
}

/**
 * A store refused a write because its floor is higher than the writer's fence: a later saga, or the undoing of this
 * one, was there first. A store's own error should be this class or carry it as `reason`, so that undoing and the
 * next lease start above the floor (R5).
 */
export class FloorRefused extends Schema.TaggedError<FloorRefused>()("FloorRefused", {
  store: Schema.String,
  thing: Schema.String,
  floor: Schema.Int,
  fence: Schema.Int
}) {
  override get message(): string {
    return `${this.store} refused ${this.thing}: its floor ${this.floor} is not below the fence ${this.fence}`
  }
}
