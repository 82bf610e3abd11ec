/** The journal could not be asked. Where the saga's own steps depend on it, none starts. */
import { Schema } from "effect"

export class JournalError extends Schema.TaggedError<JournalError>()("JournalError", {
  /** Such as "open" or "append". */
  operation: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `the journal could not ${this.operation}: ${this.cause}`
  }
}
