/** The steps of the document saga: evict the cache, write the stores, fill the cache. */
import { type Context, Effect } from "effect"
import { Step } from "../index.ts"
import { Document, Uuid } from "./Document.ts"
import { StoreError } from "./StoreError.ts"
import { DocumentCache, DocumentStore, GraphStore, Image, type Store, VectorStore } from "./Stores.ts"

const policy = {
  isTransient: (error: StoreError) => error.transient,
  notApplied: (error: StoreError) => error.applied === "no"
}

const upsertInto = <const Name extends string, Self>(
  name: Name,
  dependency: string,
  store: Context.Service<Self, Store>
) =>
  Step.make(name, {
    input: Document,
    before: Image,
    error: StoreError,
    dependency,
    rollback: "delete",
    prepare: (document) => Effect.flatMap(store, (_) => _.image(document.uuid)),
    execute: (document) => Effect.flatMap(store, (_) => _.upsert(document)),
    compensate: (document, { before }) => Effect.flatMap(store, (_) => _.restore(document.uuid, before)),
    ...policy
  })

const removeFrom = <const Name extends string, Self>(
  name: Name,
  dependency: string,
  store: Context.Service<Self, Store>
) =>
  Step.make(name, {
    input: Uuid,
    before: Image,
    error: StoreError,
    dependency,
    rollback: "restore",
    prepare: (uuid) => Effect.flatMap(store, (_) => _.image(uuid)),
    execute: (uuid) => Effect.flatMap(store, (_) => _.remove(uuid)),
    compensate: (uuid, { before }) => Effect.flatMap(store, (_) => _.restore(uuid, before)),
    ...policy
  })

// All are fenced, Qdrant too: its conditions are evaluated where they are applied, so no late write gets past a floor.
export const upsertRow = upsertInto("postgres.upsert", "postgres", DocumentStore)
export const mergeNode = upsertInto("neo4j.merge", "neo4j", GraphStore)
export const upsertVector = upsertInto("qdrant.upsert", "qdrant", VectorStore)
export const removeRow = removeFrom("postgres.remove", "postgres", DocumentStore)
export const removeNode = removeFrom("neo4j.remove", "neo4j", GraphStore)
export const removeVector = removeFrom("qdrant.remove", "qdrant", VectorStore)

/** An empty entry is never wrong, so undoing leaves it empty. */
export const evict = Step.make("redis.evict", {
  input: Uuid,
  error: StoreError,
  dependency: "redis",
  rollback: "evict",
  execute: (uuid) => Effect.flatMap(DocumentCache, (_) => _.evict(uuid)),
  compensate: (uuid) => Effect.flatMap(DocumentCache, (_) => _.evict(uuid)),
  ...policy
})

/** Past the point of no return: the document is whole without it. */
export const fillCache = Step.retriable("redis.put", {
  input: Document,
  error: StoreError,
  dependency: "redis",
  isTransient: policy.isTransient,
  execute: (document) => Effect.flatMap(DocumentCache, (_) => _.put(document))
})
