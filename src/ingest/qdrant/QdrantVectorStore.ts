/**
 * The document vectors in Qdrant. A point's payload holds the document, its floor, its writer's stamp and `tombstone`,
 * and `title` and `metadata` for the filters of searches, which want `tombstone: false` among them.
 *
 * Every late write is refused, for each update compares in the server, in one of its updates: a shard applies one at a
 * time. But it inserts absent points and skips in silence, so the stamp is read back, and read before: a floor that
 * was already too high proves that nothing was written, one that is found too high afterwards proves nothing.
 */
import { Effect, Layer, Option, Schema } from "effect"
import { Step } from "../../index.ts"
import { Qdrant, type QdrantCollection, type QdrantError, type QdrantPayload } from "../../services/Qdrant.ts"
import { Document } from "../Document.ts"
import { Rejected, refused, StoreError, Unavailable } from "../StoreError.ts"
import { type Image, nothing, VectorStore } from "../Stores.ts"
import { mayRaise, mayRestore, mayWrite, never } from "./Conditions.ts"

export interface Options {
  /** `documents` unless said; created on first need. One with replicas or quantization is for the user to create. */
  readonly collection?: string
  /** The dimension of every embedding; another one is rejected. */
  readonly size: number
  /** `Cosine` unless said. */
  readonly distance?: QdrantCollection["distance"]
}

type Writer = Step.SagaRun["Service"]

const Marks = Schema.Struct({
  floor: Schema.Int,
  floor_saga: Schema.String,
  stamp_saga: Schema.optionalKey(Schema.String),
  stamp_call: Schema.optionalKey(Schema.Int)
})
type Marks = typeof Marks.Type
const marks = ["floor", "floor_saga", "stamp_saga", "stamp_call"]

// As text, embedding and all: Qdrant normalizes vectors to 32 bits, and reads JSON numbers not always to the last digit.
const Stored = Schema.fromJsonString(Schema.toCodecJson(Document))
const Held = Schema.Struct({ ...Marks.fields, document: Schema.optionalKey(Stored) })

/** Conditional upserts came with this version; older servers ignore the condition in silence. */
const oldest = { major: 1, minor: 16 }

const isTooOld = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major < oldest.major || (major === oldest.major && minor < oldest.minor)
}

const storeError = (operation: string) => (error: QdrantError) =>
  new StoreError({
    store: "qdrant",
    operation,
    transient: error.transient,
    applied: error.maybeApplied ? "unknown" : "no",
    reason: error.transient ? new Unavailable({ cause: error }) : new Rejected({ problem: error.message })
  })

const but = (applied: StoreError["applied"]) => (error: StoreError) =>
  new StoreError({
    store: error.store,
    operation: error.operation,
    transient: error.transient,
    applied,
    reason: error.reason
  })

const rejected = (operation: string, problem: string) =>
  new StoreError({
    store: "qdrant",
    operation,
    transient: false,
    applied: "no",
    reason: new Rejected({ problem })
  })

const excludes = (held: Marks, { fence, sagaId }: Writer): boolean =>
  held.floor > fence || (held.floor === fence && held.floor_saga !== sagaId)

const isRaisedBy = (held: Marks, { fence, sagaId }: Writer): boolean =>
  held.floor === fence && held.floor_saga === sagaId

const isWrittenBy = (held: Marks, { call, sagaId }: Writer): boolean =>
  held.stamp_saga === sagaId && held.stamp_call === call

const make = Effect.fnUntraced(function* (options: Options) {
  const qdrant = yield* Qdrant
  const collection = options.collection ?? "documents"
  // A point has a vector; nobody searches this one.
  const anywhere = Array.from({ length: options.size }, (_, i) => (i === 0 ? 1 : 0))

  let isThere = false
  const ensure = Effect.fnUntraced(function* (): Effect.fn.Return<void, QdrantError | StoreError> {
    if (isThere) return
    const version = yield* qdrant.version
    if (isTooOld(version)) {
      return yield* rejected("connect", `Qdrant ${version} cannot compare before it writes: 1.16 or later can`)
    }
    yield* qdrant.ensureCollection({
      name: collection,
      size: options.size,
      distance: options.distance ?? "Cosine",
      indexes: {
        tombstone: "bool",
        floor: "integer",
        floor_saga: "keyword",
        stamp_saga: "keyword",
        stamp_call: "integer"
      }
    })
    isThere = true
  })
  /** No document is touched by it. */
  const ready = (operation: string) =>
    Effect.mapError(ensure(), (error) =>
      error._tag === "QdrantError" ? but("no")(storeError(operation)(error)) : error
    )

  const read = Effect.fnUntraced(function* <S extends Schema.ConstraintDecoder<unknown>>(
    operation: string,
    uuid: string,
    schema: S,
    fields?: ReadonlyArray<string>
  ): Effect.fn.Return<S["Type"] | undefined, StoreError> {
    const payload = yield* Effect.mapError(qdrant.payload(collection, uuid, fields), storeError(operation))
    if (payload === undefined) return undefined
    return yield* Effect.mapError(Schema.decodeUnknownEffect(schema)(payload), (error) =>
      rejected(operation, `the point ${uuid} is not a document: ${error.message}`)
    )
  })

  /** What a point is to be: the document or a tombstone. */
  const point = (uuid: string, { fence, sagaId }: Writer, { document, stamp }: Image) => {
    const found = Option.getOrUndefined(document)
    const by = Option.getOrUndefined(stamp)
    const payload: QdrantPayload = {
      tombstone: found === undefined,
      floor: fence,
      floor_saga: sagaId,
      ...(by === undefined ? {} : { stamp_saga: by.sagaId, stamp_call: by.call }),
      ...(found === undefined
        ? {}
        : { title: found.title, metadata: found.metadata, document: Schema.encodeSync(Stored)(found) })
    }
    return { _tag: "Upsert", id: uuid, vector: found?.embedding ?? anywhere, payload } as const
  }

  const raise = (uuid: string, writer: Writer) =>
    ({
      _tag: "SetPayload",
      payload: { floor: writer.fence, floor_saga: writer.sagaId },
      where: mayRaise(uuid, writer)
    }) as const

  /** What became of an update: the server does not say. */
  const settle = Effect.fnUntraced(function* (
    operation: string,
    uuid: string,
    writer: Writer,
    isDone: (held: Marks) => boolean
  ): Effect.fn.Return<Marks, StoreError> {
    const held = yield* Effect.mapError(read(operation, uuid, Marks, marks), but("unknown"))
    if (held !== undefined && isDone(held)) return held
    if (held !== undefined && excludes(held, writer)) {
      // It may have been written and overwritten since.
      return yield* but("unknown")(refused("qdrant", operation, uuid, held.floor, writer.fence))
    }
    return yield* new StoreError({
      store: "qdrant",
      operation,
      transient: true,
      applied: "unknown",
      reason: new Unavailable({ cause: new Error("what was written is not to be read yet") })
    })
  })

  const write = Effect.fnUntraced(function* (
    operation: string,
    uuid: string,
    document: Option.Option<Document>
  ): Effect.fn.Return<void, StoreError, Step.SagaRun> {
    const writer = yield* Step.SagaRun
    yield* ready(operation)
    const before = yield* read(operation, uuid, Marks, marks)
    if (before !== undefined && excludes(before, writer)) {
      return yield* refused("qdrant", operation, uuid, before.floor, writer.fence)
    }
    const stamp = Option.some({ sagaId: writer.sagaId, call: writer.call })
    const update = { ...point(uuid, writer, { document, stamp }), where: mayWrite(writer) }
    yield* Effect.mapError(qdrant.update(collection, [update]), storeError(operation))
    const held = yield* settle(operation, uuid, writer, (held) => isRaisedBy(held, writer) || isWrittenBy(held, writer))
    if (held.floor >= writer.fence) return
    // This call had written before, under an earlier fence.
    yield* Effect.mapError(qdrant.update(collection, [raise(uuid, writer)]), storeError(operation))
  })

  /**
   * Three updates, each atomic. First the floor, so that no late write of this saga comes between: an absent point
   * becomes a tombstone, another's floor rises; only then, if it is still ours, the data.
   */
  const restore = Effect.fnUntraced(function* (
    uuid: string,
    before: Image
  ): Effect.fn.Return<void, StoreError, Step.SagaRun> {
    const writer = yield* Step.SagaRun
    yield* ready("restore")
    yield* Effect.mapError(
      qdrant.update(collection, [
        { ...point(uuid, writer, nothing), where: never(uuid) },
        raise(uuid, writer),
        { ...point(uuid, writer, before), where: mayRestore(writer) }
      ]),
      storeError("restore")
    )
    yield* settle("restore", uuid, writer, (held) => isRaisedBy(held, writer))
  })

  const image = Effect.fnUntraced(function* (uuid: string): Effect.fn.Return<Image, StoreError> {
    yield* ready("find")
    const held = yield* read("find", uuid, Held)
    if (held === undefined) return nothing
    return {
      document: Option.fromUndefinedOr(held.document),
      stamp:
        held.stamp_saga === undefined || held.stamp_call === undefined
          ? Option.none()
          : Option.some({ sagaId: held.stamp_saga, call: held.stamp_call })
    }
  })

  return VectorStore.of({
    find: (uuid) => Effect.map(image(uuid), ({ document }) => document),
    image,
    upsert: (document) => write("upsert", document.uuid, Option.some(document)),
    remove: (uuid) => write("remove", uuid, Option.none()),
    restore
  })
})

export const layerWith = (options: Options): Layer.Layer<VectorStore, never, Qdrant> =>
  Layer.effect(VectorStore, make(options))
