/**
 * The built-in sagas: a document into all stores or none, and out of all or none.
 *
 * The first step empties the cache and the last fills it, so a saga that stops in between leaves it empty, never stale.
 */
import { Effect, Schema } from "effect"
import { Saga } from "../index.ts"
import { Document, Uuid } from "./Document.ts"
import { addEpisode, removeEpisodes } from "./KnowledgeSteps.ts"
import { evict, fillCache, mergeNode, removeNode, removeRow, removeVector, upsertRow, upsertVector } from "./Steps.ts"
import { StoreError } from "./StoreError.ts"

const Ingested = Schema.Struct({ uuid: Uuid })
const Removal = Schema.Struct({ uuid: Uuid })

const ingesting = {
  payload: Document,
  success: Ingested,
  error: StoreError,
  resource: (document: Document) => document.uuid
}
const removing = {
  payload: Removal,
  success: Ingested,
  error: StoreError,
  resource: ({ uuid }: typeof Removal.Type) => uuid
}

export interface Options {
  /** The stores at once; sooner done, and more to undo when one of them refuses. */
  readonly parallel?: boolean
}

const concurrency = ({ parallel = false }: Options) => (parallel ? "unbounded" : 1)

/** Into PostgreSQL, Neo4j, Qdrant and Redis. */
export const make = (options: Options = {}) =>
  Saga.make("IngestDocument", {
    ...ingesting,
    steps: [evict, upsertRow, mergeNode, upsertVector, fillCache],
    run: Effect.fnUntraced(function* (document) {
      yield* evict(document.uuid)
      yield* Effect.all([upsertRow(document), mergeNode(document), upsertVector(document)], {
        concurrency: concurrency(options)
      })
      yield* fillCache(document)
      return { uuid: document.uuid }
    })
  })

/** Into the knowledge graph too: Graphiti. */
export const makeWithKnowledge = (options: Options = {}) =>
  Saga.make("IngestDocumentWithKnowledge", {
    ...ingesting,
    steps: [evict, upsertRow, mergeNode, upsertVector, addEpisode, fillCache],
    run: Effect.fnUntraced(function* (document) {
      yield* evict(document.uuid)
      yield* Effect.all([upsertRow(document), mergeNode(document), upsertVector(document)], {
        concurrency: concurrency(options)
      })
      // Last of those that can be undone: it can least refuse what comes late.
      yield* addEpisode(document)
      yield* fillCache(document)
      return { uuid: document.uuid }
    })
  })

export const ingestDocument = make()

export const removeDocument = Saga.make("RemoveDocument", {
  ...removing,
  steps: [evict, removeRow, removeNode, removeVector],
  run: Effect.fnUntraced(function* ({ uuid }) {
    yield* evict(uuid)
    yield* removeVector(uuid)
    yield* removeNode(uuid)
    yield* removeRow(uuid)
    return { uuid }
  })
})

export const removeDocumentWithKnowledge = Saga.make("RemoveDocumentWithKnowledge", {
  ...removing,
  steps: [evict, removeRow, removeNode, removeVector, removeEpisodes],
  run: Effect.fnUntraced(function* ({ uuid }) {
    yield* evict(uuid)
    yield* removeVector(uuid)
    yield* removeNode(uuid)
    yield* removeRow(uuid)
    yield* removeEpisodes(uuid)
    return { uuid }
  })
})
