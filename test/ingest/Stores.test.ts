import { PgClient } from "@effect/sql-pg"
import { describe } from "@effect/vitest"
import { Layer, Redacted } from "effect"
import { DocumentStore, GraphStore, MemoryStores, PostgresDocumentStore, VectorStore } from "effect-saga/ingest"
import * as PgliteClient from "effect-saga/pglite"
import { storeContract } from "../contract/StoreContract.ts"
import { servers } from "../servers/inject.ts"

storeContract("memory", DocumentStore, MemoryStores.layer)
storeContract("memory", GraphStore, MemoryStores.layer)
storeContract("memory", VectorStore, MemoryStores.layer)
storeContract("PGlite", DocumentStore, PostgresDocumentStore.layer.pipe(Layer.provide(PgliteClient.layer)))

const { postgres } = servers()
describe.skipIf(postgres === null)("real PostgreSQL", () => {
  storeContract(
    "PostgreSQL",
    DocumentStore,
    PostgresDocumentStore.layer.pipe(Layer.provide(PgClient.layer({ url: Redacted.make(postgres ?? "") })))
  )
})
