/** Why a dead letter could not be read or changed. */
import { Schema } from "effect"

export class DeadLetterError extends Schema.TaggedError<DeadLetterError>()("DeadLetterError", {
  reason: Schema.Union([
    Schema.TaggedStruct("NotFound", { id: Schema.String }),
    Schema.TaggedStruct("NotRedrivable", { id: Schema.String, problem: Schema.String }),
    Schema.TaggedStruct("StoreError", { cause: Schema.Defect() })
  ])
}) {
  override get message(): string {
    const reason = this.reason
    switch (reason._tag) {
      case "NotFound":
        return `there is no dead letter ${reason.id}`
      case "NotRedrivable":
        return `dead letter ${reason.id} cannot be redriven: ${reason.problem}`
      case "StoreError":
        return `the dead-letter queue could not be reached: ${reason.cause}`
    }
  }
}
