/**
 * The built-in sagas: a document into all stores or none, and out of all or none.
 *
 * The first step empties the cache and the last fills it, so a saga that stops in between leaves it empty, never stale.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { SagaMemory } from "effect-saga"
 * import { Document, Ingest, KnowledgeGraph, MemoryKnowledgeGraph, MemoryStores } from "effect-saga/ingest"
 *
 * const ingest = Ingest.make({ parallel: true, knowledgeGraph: true })
 * const uuid = "6f2c1c8e-3f0a-4c55-9c1b-0d8f6a1b2c3d"
 * const document = new Document({
 *   uuid,
 *   title: "Sagas",
 *   body: "All or none.",
 *   embedding: [0, 1],
 *   links: [],
 *   metadata: {}
 * })
 *
 * const known = Effect.gen(function* () {
 *   yield* ingest.execute(document)
 *   return (yield* (yield* KnowledgeGraph).episodes(uuid)).map(({ content }) => content)
 * })
 * const world = Layer.mergeAll(SagaMemory.layer, MemoryStores.layer, MemoryKnowledgeGraph.layer)
 * console.log(await Effect.runPromise(Effect.provide(known, world))) // [ 'Sagas\n\nAll or none.' ]
 * ```
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

/** A choice of the program, not of its settings: it decides what the saga needs and what it is called. */
export interface WithKnowledge {
  readonly knowledgeGraph: true
}
interface WithoutKnowledge {
  readonly knowledgeGraph?: false
}

const concurrency = ({ parallel = false }: Options) => (parallel ? "unbounded" : 1)

const withoutKnowledge = (options: Options) =>
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

// Another name: a result recorded before the graph was asked for must not keep the document from it.
const withKnowledge = (options: Options) =>
  Saga.make("IngestDocumentWithKnowledge", {
    ...ingesting,
    steps: [evict, upsertRow, mergeNode, upsertVector, addEpisode, fillCache],
    run: Effect.fnUntraced(function* (document) {
      yield* evict(document.uuid)
      // One by one the knowledge graph is last: it is the slowest, and cannot refuse what comes late.
      yield* Effect.all([upsertRow(document), mergeNode(document), upsertVector(document), addEpisode(document)], {
        concurrency: concurrency(options)
      })
      yield* fillCache(document)
      return { uuid: document.uuid }
    })
  })

/** Into PostgreSQL, Neo4j, Qdrant and Redis; into the knowledge graph too, as another saga, when asked. */
export function make(options: Options & WithKnowledge): ReturnType<typeof withKnowledge>
export function make(options?: Options & WithoutKnowledge): ReturnType<typeof withoutKnowledge>
export function make(options: Options & (WithKnowledge | WithoutKnowledge) = {}) {
  return options.knowledgeGraph === true ? withKnowledge(options) : withoutKnowledge(options)
}

export const ingestDocument = make()

const removeWithoutKnowledge = () =>
  Saga.make("RemoveDocument", {
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

const removeWithKnowledge = () =>
  Saga.make("RemoveDocumentWithKnowledge", {
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

/** Out of all of them; out of the knowledge graph too when asked. */
export function makeRemove(options: WithKnowledge): ReturnType<typeof removeWithKnowledge>
export function makeRemove(options?: WithoutKnowledge): ReturnType<typeof removeWithoutKnowledge>
export function makeRemove(options: WithKnowledge | WithoutKnowledge = {}) {
  return options.knowledgeGraph === true ? removeWithKnowledge() : removeWithoutKnowledge()
}

export const removeDocument = makeRemove()
