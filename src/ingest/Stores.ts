/**
 * The stores of the document saga. Each write carries the fence, saga id and call of `SagaRun` and is one atomic
 * statement: a thing refuses it when its floor is higher, or equal under another saga; else the floor rises. Floors
 * outlive the data.
 */
import { Context, type Effect, type Option } from "effect"
import type { Step } from "../index.ts"
import type { Document } from "./Document.ts"
import type { StoreError } from "./StoreError.ts"

/** One store of documents, whatever it keeps of them. */
export interface Store {
  readonly find: (uuid: string) => Effect.Effect<Option.Option<Document>, StoreError>
  /** Writing again under the same saga and call writes nothing new. */
  readonly upsert: (document: Document) => Effect.Effect<void, StoreError, Step.SagaRun>
  /** Leaves a tombstone with the floor. */
  readonly remove: (uuid: string) => Effect.Effect<void, StoreError, Step.SagaRun>
  /** Puts back exactly what was there if this saga wrote since; raises the floor in any case. */
  readonly restore: (uuid: string, before: Option.Option<Document>) => Effect.Effect<void, StoreError, Step.SagaRun>
}

/** The rows, in PostgreSQL. */
export class DocumentStore extends Context.Service<DocumentStore, Store>()("effect-saga/ingest/DocumentStore") {}

/** The nodes and their links, in Neo4j. */
export class GraphStore extends Context.Service<GraphStore, Store>()("effect-saga/ingest/GraphStore") {}

/** The vectors, in Qdrant. */
export class VectorStore extends Context.Service<VectorStore, Store>()("effect-saga/ingest/VectorStore") {}

/** A cache that is empty or right, never stale, in Redis. */
export class DocumentCache extends Context.Service<
  DocumentCache,
  {
    readonly get: (uuid: string) => Effect.Effect<Option.Option<Document>, StoreError>
    readonly evict: (uuid: string) => Effect.Effect<void, StoreError, Step.SagaRun>
    readonly put: (document: Document) => Effect.Effect<void, StoreError, Step.SagaRun>
  }
>()("effect-saga/ingest/DocumentCache") {}
