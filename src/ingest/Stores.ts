/**
 * The stores of the document saga. Each write carries the fence, saga id and call of `SagaRun` and is one atomic
 * statement: a thing refuses it when its floor is higher, or equal under another saga; else the floor rises. Floors
 * outlive the data.
 */
import { Context, type Effect, Option, Schema } from "effect"
import type { Step } from "../index.ts"
import { Document } from "./Document.ts"
import type { StoreError } from "./StoreError.ts"

/** Who wrote a thing last: a later undo of that writer must still find its own. */
export const Stamp = Schema.Struct({ sagaId: Schema.String, call: Schema.Int })

/** What a store has of a document, with the stamp of its writer; a tombstone has a stamp and no document. */
export const Image = Schema.Struct({ document: Schema.Option(Document), stamp: Schema.Option(Stamp) })
export type Image = typeof Image.Type

/** Of a thing that no saga ever wrote. */
export const nothing: Image = { document: Option.none(), stamp: Option.none() }

/** One store of documents, whatever it keeps of them. */
export interface Store {
  readonly find: (uuid: string) => Effect.Effect<Option.Option<Document>, StoreError>
  /** What `restore` puts back. */
  readonly image: (uuid: string) => Effect.Effect<Image, StoreError>
  /** Writing again under the same saga and call writes nothing new. */
  readonly upsert: (document: Document) => Effect.Effect<void, StoreError, Step.SagaRun>
  /** Leaves a tombstone with the floor. */
  readonly remove: (uuid: string) => Effect.Effect<void, StoreError, Step.SagaRun>
  /** Puts back exactly what was there, stamp and all, if this saga wrote since; raises the floor in any case. */
  readonly restore: (uuid: string, before: Image) => Effect.Effect<void, StoreError, Step.SagaRun>
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
