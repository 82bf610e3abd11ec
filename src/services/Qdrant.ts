/**
 * A Qdrant database, as far as a store that compares before it writes needs it.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Qdrant } from "effect-saga"
 *
 * const title = Effect.flatMap(Qdrant, (qdrant) => qdrant.payload("documents", "1", ["title"]))
 * // QdrantRest.layerConfig has a real one; here is one for a test.
 * const empty = Qdrant.of({
 *   version: Effect.succeed("1.18.0"),
 *   ensureCollection: () => Effect.void,
 *   update: () => Effect.void,
 *   payload: () => Effect.succeed(undefined)
 * })
 * console.log(await Effect.runPromise(Effect.provideService(title, Qdrant, empty))) // undefined
 * ```
 */
import { Context, type Effect, Schema } from "effect"

export class QdrantError extends Schema.TaggedError<QdrantError>()("QdrantError", {
  /** The HTTP status, or the network's code. */
  code: Schema.String,
  /** Whether the same request may succeed later. */
  transient: Schema.Boolean,
  /** False: the server refused the request, or was never reached. True: nothing is known. */
  maybeApplied: Schema.Boolean,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `${this.code}: ${this.cause instanceof Error ? this.cause.message : this.cause}`
  }
}

/** Qdrant's own filter: `must`, `should`, `must_not`. */
export type QdrantFilter = Readonly<Record<string, unknown>>
export type QdrantPayload = Readonly<Record<string, unknown>>

export type QdrantUpdate =
  /** Replaces the point, vector and payload, if it matches `where`; inserts it if it is absent, whatever `where` says. */
  | {
      readonly _tag: "Upsert"
      readonly id: string
      readonly vector: ReadonlyArray<number>
      readonly payload: QdrantPayload
      readonly where: QdrantFilter
    }
  /** Sets these fields of every point that matches. */
  | { readonly _tag: "SetPayload"; readonly payload: QdrantPayload; readonly where: QdrantFilter }

export interface QdrantCollection {
  readonly name: string
  /** The dimension of its vectors. */
  readonly size: number
  readonly distance: "Cosine" | "Dot" | "Euclid" | "Manhattan"
  readonly indexes: Readonly<Record<string, "bool" | "integer" | "keyword">>
}

export class Qdrant extends Context.Service<
  Qdrant,
  {
    /** Such as `1.18.0`. */
    readonly version: Effect.Effect<string, QdrantError>
    /** Creates the collection unless there is one of the name, and the indexes it lacks. */
    readonly ensureCollection: (collection: QdrantCollection) => Effect.Effect<void, QdrantError>
    /**
     * Each update is atomic, and they are applied in this order; the request is not atomic as a whole. An update that
     * matches nothing changes nothing and is no error.
     */
    readonly update: (
      collection: string,
      updates: readonly [QdrantUpdate, ...Array<QdrantUpdate>]
    ) => Effect.Effect<void, QdrantError>
    /** The payload of a point; `undefined` if there is none. `fields`: only these of its top level. */
    readonly payload: (
      collection: string,
      id: string,
      fields?: ReadonlyArray<string>
    ) => Effect.Effect<QdrantPayload | undefined, QdrantError>
  }
>()("effect-saga/services/Qdrant") {}
