/** What is Qdrant's own: it answers no condition, inserts what is absent, and its requests are several updates. */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option } from "effect"
import { Qdrant, QdrantRest, type QdrantUpdate } from "effect-saga"
import { Document, nothing, QdrantVectorStore, type StoreError, VectorStore } from "effect-saga/ingest"
import { as, documentOf } from "../contract/StoreContract.ts"
import { servers } from "../servers/inject.ts"
import * as QdrantServer from "../servers/Qdrant.ts"

const T = 1_795_000_000_000_000
const collection = "qdrant_test"

const outcome = (error: StoreError) => [error.reason._tag, error.transient, error.applied]

const { qdrant } = servers()
describe.skipIf(qdrant === null)("vectors in Qdrant", () => {
  const rest = QdrantRest.layer({ url: qdrant ?? "" })
  const stores = QdrantVectorStore.layerWith({ collection, size: 3 }).pipe(Layer.provideMerge(rest))

  it.layer(stores, { excludeTestServices: true, timeout: 60_000 })((test) => {
    /** The store over a database that does something else around each request of updates. */
    const over = (
      change: (updates: ReadonlyArray<QdrantUpdate>, db: Qdrant["Service"]) => Effect.Effect<void, never>
    ) =>
      Effect.flatMap(Qdrant, (db) =>
        Effect.provide(
          VectorStore,
          Layer.fresh(QdrantVectorStore.layerWith({ collection, size: 3 })).pipe(
            Layer.provide(Layer.succeed(Qdrant, { ...db, update: (_, updates) => change(updates, db) }))
          )
        )
      )
    const apply = (db: Qdrant["Service"], update: QdrantUpdate) => Effect.orDie(db.update(collection, [update]))

    for (const place of [0, 1, 2, 3]) {
      for (const earlier of [false, true]) {
        test.effect(
          `undoes or refuses a late write that lands before update ${place} of its undo (earlier version: ${earlier})`,
          () =>
            Effect.gen(function* () {
              const store = yield* VectorStore
              const v1 = documentOf("v1")
              if (earlier) yield* store.upsert(v1).pipe(as("s0", T))
              const image = yield* store.image(v1.uuid)
              const late = Effect.exit(store.upsert(documentOf("late", v1.uuid)).pipe(as("s1", T + 1)))
              let refused = false
              const interleaved = yield* over((updates, db) =>
                Effect.gen(function* () {
                  assert.strictEqual(updates.length, 3)
                  for (const [at, update] of updates.entries()) {
                    if (at === place) refused = Exit.isFailure(yield* late)
                    yield* apply(db, update)
                  }
                  if (place === updates.length) refused = Exit.isFailure(yield* late)
                })
              )
              yield* interleaved.restore(v1.uuid, image).pipe(as("s1", T + 2))
              assert.deepStrictEqual(yield* store.image(v1.uuid), image)
              // Absent: from the first update on; another's: from the second, which raises its floor.
              assert.strictEqual(refused, place > (earlier ? 1 : 0))
              assert.isTrue(Exit.isFailure(yield* late))
              assert.deepStrictEqual(yield* store.image(v1.uuid), image)
            })
        )
      }
    }

    for (const [whose, fence] of [
      ["a higher fence", T + 5],
      ["the same fence of another saga", T]
    ] as const) {
      test.effect(`refuses an update that was on its way when ${whose} wrote`, () =>
        Effect.gen(function* () {
          const store = yield* VectorStore
          const theirs = documentOf("theirs")
          const slow = yield* over((updates, db) =>
            Effect.gen(function* () {
              yield* Effect.orDie(store.upsert(theirs).pipe(as("s2", fence)))
              for (const update of updates) yield* apply(db, update)
            })
          )
          const error = yield* Effect.flip(slow.upsert(documentOf("mine", theirs.uuid)).pipe(as("s1", T)))
          assert.strictEqual(error.reason._tag, "FloorRefused")
          assert.deepStrictEqual(yield* store.find(theirs.uuid), Option.some(theirs))
        })
      )
    }

    test.effect("refuses an undo that was on its way when a higher fence raised the floor", () =>
      Effect.gen(function* () {
        const store = yield* VectorStore
        const document = documentOf("kept")
        yield* store.upsert(document).pipe(as("s1", T))
        const slow = yield* over((updates, db) =>
          Effect.gen(function* () {
            yield* Effect.orDie(store.restore(document.uuid, nothing).pipe(as("s2", T + 5)))
            for (const update of updates) yield* apply(db, update)
          })
        )
        const error = yield* Effect.flip(slow.restore(document.uuid, nothing).pipe(as("s1", T + 2)))
        assert.strictEqual(error.reason._tag === "FloorRefused" ? error.reason.floor : undefined, T + 5)
        assert.deepStrictEqual(yield* store.find(document.uuid), Option.some(document))
      })
    )

    test.effect("raises no floor but that of the document", () =>
      Effect.gen(function* () {
        const store = yield* VectorStore
        const [document, other] = [documentOf("one"), documentOf("other")]
        yield* store.upsert(other).pipe(as("s1", T))
        yield* store.restore(document.uuid, nothing).pipe(as("s2", T + 5))
        yield* store.upsert(new Document({ ...other, title: "again" })).pipe(as("s3", T + 1))
        assert.strictEqual(Option.getOrUndefined(yield* store.find(other.uuid))?.title, "again")
      })
    )

    test.effect("does not say that nothing was written when its write was overwritten before it was read back", () =>
      Effect.gen(function* () {
        const store = yield* VectorStore
        const document = documentOf("mine")
        const overtaken = yield* over((updates, db) =>
          Effect.gen(function* () {
            for (const update of updates) yield* apply(db, update)
            yield* Effect.orDie(store.upsert(documentOf("theirs", document.uuid)).pipe(as("s2", T + 5)))
          })
        )
        const error = yield* Effect.flip(overtaken.upsert(document).pipe(as("s1", T)))
        assert.deepStrictEqual(outcome(error), ["FloorRefused", false, "unknown"])
      })
    )

    test.effect("has written when only its floor was raised before it was read back", () =>
      Effect.gen(function* () {
        const store = yield* VectorStore
        const document = documentOf("mine")
        const overtaken = yield* over((updates, db) =>
          Effect.gen(function* () {
            for (const update of updates) yield* apply(db, update)
            yield* Effect.orDie(store.restore(document.uuid, nothing).pipe(as("s2", T + 5)))
          })
        )
        yield* overtaken.upsert(document).pipe(as("s1", T))
        assert.deepStrictEqual(yield* store.find(document.uuid), Option.some(document))
      })
    )

    test.effect("raises the floor when a call comes again under a later fence", () =>
      Effect.gen(function* () {
        const store = yield* VectorStore
        const document = documentOf("again")
        yield* store.upsert(document).pipe(as("s1", T))
        yield* store.upsert(document).pipe(as("s1", T + 9))
        const error = yield* Effect.flip(store.upsert(document).pipe(as("s2", T + 8)))
        assert.deepStrictEqual(outcome(error), ["FloorRefused", false, "no"])
      })
    )

    test.effect("takes what was accepted but cannot be read yet for neither written nor refused", () =>
      Effect.gen(function* () {
        const lagging = yield* over(() => Effect.void)
        const error = yield* Effect.flip(lagging.upsert(documentOf("lost")).pipe(as("s1", T)))
        assert.deepStrictEqual(outcome(error), ["Unavailable", true, "unknown"])
      })
    )

    test.effect("rejects another dimension, and keeps what was there", () =>
      Effect.gen(function* () {
        const store = yield* VectorStore
        const document = documentOf("three")
        yield* store.upsert(document).pipe(as("s1", T))
        const wrong = new Document({ ...document, title: "two", embedding: [1, 2] })
        const error = yield* Effect.flip(store.upsert(wrong).pipe(as("s2", T + 1)))
        assert.deepStrictEqual(outcome(error), ["Rejected", false, "no"])
        assert.match(error.message, /dimension/i)
        assert.deepStrictEqual(yield* store.find(document.uuid), Option.some(document))
      })
    )

    test.effect("gives back numbers that a 32 bit or normalized vector would not keep", () =>
      Effect.gen(function* () {
        const store = yield* VectorStore
        const document = new Document({ ...documentOf("exact"), embedding: [0.1, -1e-30, 12345.678901234567] })
        yield* store.upsert(document).pipe(as("s1", T))
        assert.deepStrictEqual(yield* store.find(document.uuid), Option.some(document))
      })
    )

    test.effect("marks tombstones, so that a search can leave them out", () =>
      Effect.gen(function* () {
        const store = yield* VectorStore
        const db = yield* Qdrant
        const document = documentOf("searched")
        yield* store.upsert(document).pipe(as("s1", T))
        assert.strictEqual((yield* db.payload(collection, document.uuid))?.tombstone, false)
        yield* store.remove(document.uuid).pipe(as("s2", T + 1))
        assert.strictEqual((yield* db.payload(collection, document.uuid))?.tombstone, true)
      })
    )

    test.effect("leaves a point alone that is none of its documents", () =>
      Effect.gen(function* () {
        const store = yield* VectorStore
        const db = yield* Qdrant
        const document = documentOf("foreign")
        yield* apply(db, { _tag: "Upsert", id: document.uuid, vector: [1, 2, 3], payload: { a: 1 }, where: {} })
        const error = yield* Effect.flip(store.upsert(document).pipe(as("s1", T)))
        assert.deepStrictEqual(outcome(error), ["Rejected", false, "no"])
        assert.deepStrictEqual(yield* db.payload(collection, document.uuid), { a: 1 })
      })
    )

    test.effect("refuses to work on a server that ignores conditions", () =>
      Effect.gen(function* () {
        const db = yield* Qdrant
        const old = Layer.succeed(Qdrant, { ...db, version: Effect.succeed("1.15.5") })
        const layer = QdrantVectorStore.layerWith({ collection, size: 3 }).pipe(Layer.provide(old))
        const find = Effect.flatMap(VectorStore, (store) => store.find(randomUUID()))
        const error = yield* Effect.flip(Effect.provide(find, Layer.fresh(layer)))
        assert.deepStrictEqual(outcome(error), ["Rejected", false, "no"])
        assert.match(error.message, /1\.16/)
      })
    )

    test.effect("may be created by several at once", () =>
      Effect.gen(function* () {
        const fresh = { collection: `many_${randomUUID()}`, size: 3 }
        const write = Effect.provide(
          Effect.flatMap(VectorStore, (store) => store.upsert(documentOf("first")).pipe(as("s1", T))),
          Layer.fresh(QdrantVectorStore.layerWith(fresh))
        )
        yield* Effect.all([write, write, write, write], { concurrency: "unbounded", discard: true })
      })
    )
  })
})

describe.skipIf(!QdrantServer.available())("a Qdrant that goes away", () => {
  it.live("keeps its floors over a kill, and says meanwhile that nothing was written", () =>
    Effect.gen(function* () {
      const server = yield* Effect.acquireRelease(
        Effect.promise(() => QdrantServer.start()),
        (one) => Effect.promise(() => one.stop())
      )
      const layer = QdrantVectorStore.layerWith({ size: 3 }).pipe(Layer.provide(QdrantRest.layer({ url: server.url })))
      yield* Effect.gen(function* () {
        const store = yield* VectorStore
        const document = documentOf("kept")
        yield* store.upsert(document).pipe(as("s1", T + 1))
        yield* Effect.promise(() => server.kill())
        const gone = yield* Effect.flip(store.upsert(document).pipe(as("s2", T + 2)))
        assert.deepStrictEqual(outcome(gone), ["Unavailable", true, "no"])
        yield* Effect.promise(() => server.restart())
        assert.deepStrictEqual(yield* store.find(document.uuid), Option.some(document))
        const refused = yield* Effect.flip(store.upsert(document).pipe(as("s0", T)))
        assert.deepStrictEqual(outcome(refused), ["FloorRefused", false, "no"])
      }).pipe(Effect.provide(layer))
    })
  )
})
