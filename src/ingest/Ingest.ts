/**
 * The built-in sagas: a document into all stores or none, and out of all or none.
 *
 * The first step empties the cache and the last fills it, so a saga that stops in between leaves it empty, never stale.
 */
import { Effect, Schema } from "effect"
import { Saga } from "../index.ts"
import { Document, Uuid } from "./Document.ts"
import { evict, fillCache, mergeNode, removeNode, removeRow, removeVector, upsertRow, upsertVector } from "./Steps.ts"
import { StoreError } from "./StoreError.ts"

const Ingested = Schema.Struct({ uuid: Uuid })

/** `parallel`: the three stores at once; sooner done, and more to undo when one of them refuses. */
export const make = (options: { readonly parallel?: boolean } = {}) =>
  Saga.make("IngestDocument", {
    payload: Document,
    success: Ingested,
    error: StoreError,
    resource: (document) => document.uuid,
    steps: [evict, upsertRow, mergeNode, upsertVector, fillCache],
    run: Effect.fnUntraced(function* (document) {
      yield* evict(document.uuid)
      yield* Effect.all([upsertRow(document), mergeNode(document), upsertVector(document)], {
        concurrency: options.parallel === true ? "unbounded" : 1
      })
      yield* fillCache(document)
      return { uuid: document.uuid }
    })
  })

export const ingestDocument = make()

export const removeDocument = Saga.make("RemoveDocument", {
  payload: Schema.Struct({ uuid: Uuid }),
  success: Ingested,
  error: StoreError,
  resource: ({ uuid }) => uuid,
  steps: [evict, removeRow, removeNode, removeVector],
  run: Effect.fnUntraced(function* ({ uuid }) {
    yield* evict(uuid)
    yield* removeVector(uuid)
    yield* removeNode(uuid)
    yield* removeRow(uuid)
    return { uuid }
  })
})
