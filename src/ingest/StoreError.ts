/** How a store of the document saga fails. */
import { Schema } from "effect"
import { FloorRefused } from "../index.ts"

/** It could not be reached or did not answer. */
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", { cause: Schema.Defect() }) {}

/** It answered that it does not take this: a constraint, a wrong dimension, a wrong type. */
export class Rejected extends Schema.TaggedError<Rejected>()("Rejected", { problem: Schema.String }) {}

export class StoreError extends Schema.TaggedError<StoreError>()("StoreError", {
  store: Schema.Literals(["postgres", "neo4j", "qdrant", "redis", "graphiti"]),
  operation: Schema.String,
  /** Whether the same call may succeed later. */
  transient: Schema.Boolean,
  /** Whether the store can have changed. */
  applied: Schema.Literals(["no", "unknown"]),
  reason: Schema.Union([FloorRefused, Unavailable, Rejected])
}) {
  override get message(): string {
    const reason = this.reason
    const detail =
      reason._tag === "Rejected" ? reason.problem : reason._tag === "Unavailable" ? `${reason.cause}` : reason.message
    return `${this.store} failed to ${this.operation}: ${detail}`
  }
}

export const refused = (store: StoreError["store"], operation: string, thing: string, floor: number, fence: number) =>
  new StoreError({
    store,
    operation,
    transient: false,
    applied: "no",
    reason: new FloorRefused({ store, thing, floor, fence })
  })
