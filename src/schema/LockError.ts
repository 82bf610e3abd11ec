/** Why a lease was not had, or not kept. Not acquired, lost while held, and store unreachable are three different errors. */
import { Schema } from "effect"

/** The wait limit passed while another holder had the lease. Nothing ran. */
export class LockTimeout extends Schema.TaggedError<LockTimeout>()("LockTimeout", {
  resource: Schema.String,
  waited: Schema.Duration
}) {}

/** The lease ended or was taken while the body ran; the body was interrupted. */
export class LockLost extends Schema.TaggedError<LockLost>()("LockLost", {
  resource: Schema.String,
  fence: Schema.Int
}) {}

/** Earlier sagas on the resource are unfinished and cannot be settled by this process. Nothing ran. */
export class ResourceUnsettled extends Schema.TaggedError<ResourceUnsettled>()("ResourceUnsettled", {
  resource: Schema.String,
  sagaIds: Schema.Array(Schema.String)
}) {}

/** The lock's store could not be asked: the lock fails closed. */
export class LockStoreError extends Schema.TaggedError<LockStoreError>()("LockStoreError", {
  cause: Schema.Defect()
}) {}

/** A resource name the lock does not take: empty, or none given. */
export class InvalidResource extends Schema.TaggedError<InvalidResource>()("InvalidResource", {
  problem: Schema.String
}) {}

export class LockError extends Schema.TaggedError<LockError>()("LockError", {
  reason: Schema.Union([LockTimeout, LockLost, ResourceUnsettled, LockStoreError, InvalidResource])
}) {
  override get message(): string {
    const reason = this.reason
    switch (reason._tag) {
      case "LockTimeout":
        return `${reason.resource} is held by another: gave up waiting after ${reason.waited}. Try again later.`
      case "LockLost":
        return `the lease ${reason.fence} on ${reason.resource} ended while it was held`
      case "ResourceUnsettled":
        return `${reason.resource} has unfinished sagas that this process does not know: ${reason.sagaIds.join(", ")}`
      case "LockStoreError":
        return `the lock's store could not be reached: ${reason.cause}`
      case "InvalidResource":
        return reason.problem
    }
  }
}
