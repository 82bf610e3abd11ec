/** Where saga ids and lock tokens come from; a test gives its own to make them repeatable. */
import { randomUUID } from "node:crypto"
import { Context, Effect } from "effect"

export const Ids = Context.Reference<{ readonly next: Effect.Effect<string> }>("effect-saga/services/Ids", {
  defaultValue: () => ({ next: Effect.sync(() => randomUUID()) })
})
