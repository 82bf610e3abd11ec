/** The document saga: its data, its stores and their layers. */
export { Document, Uuid } from "./Document.ts"
export * as Ingest from "./Ingest.ts"
export { ingestDocument, removeDocument } from "./Ingest.ts"
export * as MemoryStores from "./memory/MemoryStores.ts"
export * as PostgresDocumentStore from "./postgres/PostgresDocumentStore.ts"
export * as RedisDocumentCache from "./redis/RedisDocumentCache.ts"
export * from "./StoreError.ts"
export * from "./Stores.ts"
