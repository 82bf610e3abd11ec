/** The stores of the document saga within one process. */
import { Context, Effect, Layer, Option } from "effect"
import { Step } from "../../index.ts"
import type { Document } from "../Document.ts"
import { refused, type StoreError } from "../StoreError.ts"
import { DocumentCache, DocumentStore, GraphStore, type Store, VectorStore } from "../Stores.ts"
import { FlooredMap, type Writer } from "./FlooredMap.ts"

/** What the memory stores hold, for a test to look at. */
export class MemoryState extends Context.Service<
  MemoryState,
  {
    readonly postgres: FlooredMap<Document>
    readonly neo4j: FlooredMap<Document>
    readonly qdrant: FlooredMap<Document>
    readonly redis: FlooredMap<Document>
  }
>()("effect-saga/ingest/memory/MemoryState") {}

const writing = (
  store: StoreError["store"],
  operation: string,
  uuid: string,
  write: (writer: Writer) => number | undefined
): Effect.Effect<void, StoreError, Step.SagaRun> =>
  Effect.flatMap(Step.SagaRun, (writer) => {
    const floor = write(writer)
    return floor === undefined ? Effect.void : Effect.fail(refused(store, operation, uuid, floor, writer.fence))
  })

const storeOver = (store: StoreError["store"], map: FlooredMap<Document>): Store => ({
  find: (uuid) => Effect.sync(() => Option.fromUndefinedOr(map.get(uuid))),
  image: (uuid) =>
    Effect.sync(() => {
      const { stamp, value } = map.image(uuid)
      return { document: Option.fromUndefinedOr(value), stamp: Option.fromUndefinedOr(stamp) }
    }),
  upsert: (document) => writing(store, "upsert", document.uuid, (writer) => map.write(document.uuid, document, writer)),
  remove: (uuid) => writing(store, "remove", uuid, (writer) => map.write(uuid, undefined, writer)),
  restore: (uuid, before) =>
    writing(store, "restore", uuid, (writer) =>
      map.restore(
        uuid,
        { value: Option.getOrUndefined(before.document), stamp: Option.getOrUndefined(before.stamp) },
        writer
      )
    )
})

const services = (state: MemoryState["Service"]) =>
  Context.make(DocumentStore, storeOver("postgres", state.postgres)).pipe(
    Context.add(GraphStore, storeOver("neo4j", state.neo4j)),
    Context.add(VectorStore, storeOver("qdrant", state.qdrant)),
    Context.add(DocumentCache, {
      get: (uuid) => Effect.sync(() => Option.fromUndefinedOr(state.redis.get(uuid))),
      evict: (uuid) => writing("redis", "evict", uuid, (writer) => state.redis.write(uuid, undefined, writer)),
      put: (document) =>
        writing("redis", "put", document.uuid, (writer) => state.redis.write(document.uuid, document, writer))
    }),
    Context.add(MemoryState, state)
  )

export const layer: Layer.Layer<DocumentStore | GraphStore | VectorStore | DocumentCache | MemoryState> =
  Layer.effectContext(
    Effect.sync(() =>
      services({
        postgres: new FlooredMap(),
        neo4j: new FlooredMap(),
        qdrant: new FlooredMap(),
        redis: new FlooredMap()
      })
    )
  )
