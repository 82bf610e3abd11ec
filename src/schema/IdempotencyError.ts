/** Why a request could not be matched with what was recorded for it. Nothing ran. */
import { Schema } from "effect"

/** The caller's key was used before with another payload. */
export class KeyReused extends Schema.TaggedError<KeyReused>()("KeyReused", { key: Schema.String }) {}

/** The key is not 1 to 255 printable characters, or the payload has no canonical form to derive one from. */
export class InvalidKey extends Schema.TaggedError<InvalidKey>()("InvalidKey", { problem: Schema.String }) {}

/** The key was served, but its result was too large or not serialisable to keep. */
export class ResultNotKept extends Schema.TaggedError<ResultNotKept>()("ResultNotKept", {
  key: Schema.String,
  sagaId: Schema.String
}) {}

/** The record of a caller's key cannot be read: it was served, by a version whose result this one does not know. */
export class RecordUnreadable extends Schema.TaggedError<RecordUnreadable>()("RecordUnreadable", {
  key: Schema.String,
  problem: Schema.String
}) {}

export class IdempotencyStoreError extends Schema.TaggedError<IdempotencyStoreError>()("IdempotencyStoreError", {
  cause: Schema.Defect()
}) {}

export class IdempotencyError extends Schema.TaggedError<IdempotencyError>()("IdempotencyError", {
  reason: Schema.Union([KeyReused, InvalidKey, ResultNotKept, RecordUnreadable, IdempotencyStoreError])
}) {
  override get message(): string {
    const reason = this.reason
    switch (reason._tag) {
      case "KeyReused":
        return `the idempotency key ${reason.key} was used before with another payload: choose a new key`
      case "InvalidKey":
        return reason.problem
      case "ResultNotKept":
        return `the key ${reason.key} was served by saga ${reason.sagaId}, whose result was not kept`
      case "RecordUnreadable":
        return `the record of the key ${reason.key} cannot be read: ${reason.problem}`
      case "IdempotencyStoreError":
        return `the idempotency store could not be reached: ${reason.cause}`
    }
  }
}
