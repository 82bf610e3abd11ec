/** The document saga with its stores written at once, as a step of another saga. */
import { Effect } from "effect"
import { Saga } from "../../src/index.ts"
import { Document, Ingest, StoreError } from "../../src/ingest/index.ts"

const inner = Saga.asStep(Ingest.make({ parallel: true }))

export const nested = Saga.make("Nested", {
  payload: Document,
  error: StoreError,
  resource: (document) => document.uuid,
  steps: [inner],
  run: (document) => Effect.asVoid(inner(document))
})
