/** What every store of the document saga does: the rule of floors, tombstones and before-images. */

import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect, type Layer, Option, Schema } from "effect"
import { FloorRefused, Step } from "effect-saga"
import { Document, nothing, type Store, type StoreError } from "effect-saga/ingest"

export const documentOf = (text: string, uuid: string = randomUUID()) =>
  new Document({ uuid, title: text, body: `body of ${text}`, embedding: [0.25, 0.5, 1], links: [], metadata: { text } })

/** Writes as the saga `sagaId` with the fence; call 0 unless said. */
export const as =
  (sagaId: string, fence: number, call = 0) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provideService(effect, Step.SagaRun, { sagaId, fence, call, resources: [] })

const refusal = (effect: Effect.Effect<void, StoreError>) =>
  Effect.map(Effect.flip(effect), (error) => {
    assert.instanceOf(error.reason, FloorRefused)
    assert.deepStrictEqual([error.transient, error.applied], [false, "no"])
    return error.reason._tag === "FloorRefused" ? error.reason.floor : undefined
  })

/** Like the fences of a lock, beyond what 32 bits hold. */
const T = 1_795_000_000_000_000

export const storeContract = <Self>(
  name: string,
  tag: Context.Service<Self, Store>,
  layer: Layer.Layer<Self, unknown>
) =>
  describe(`${tag.key}: ${name}`, () => {
    it.layer(layer, { excludeTestServices: true, timeout: 60_000 })((test) => {
      const title = (store: Store, uuid: string) =>
        Effect.map(store.find(uuid), (found) => Option.getOrUndefined(Option.map(found, (document) => document.title)))

      test.effect("gives back a document as it was written", () =>
        Effect.gen(function* () {
          const store = yield* tag
          const document = documentOf("quotes ' \" and ünïcode")
          assert.isTrue(Option.isNone(yield* store.find(document.uuid)))
          yield* store.upsert(document).pipe(as("s1", T))
          assert.deepStrictEqual(yield* store.find(document.uuid), Option.some(document))
        })
      )

      test.effect("refuses a lower fence, and reports its floor", () =>
        Effect.gen(function* () {
          const store = yield* tag
          const document = documentOf("new")
          yield* store.upsert(document).pipe(as("s2", T + 5))
          assert.strictEqual(yield* refusal(store.upsert(documentOf("old", document.uuid)).pipe(as("s1", T))), T + 5)
          assert.strictEqual(yield* title(store, document.uuid), "new")
        })
      )

      test.effect("refuses the same fence under another saga", () =>
        Effect.gen(function* () {
          const store = yield* tag
          const document = documentOf("mine")
          yield* store.upsert(document).pipe(as("s1", T))
          assert.strictEqual(yield* refusal(store.upsert(documentOf("theirs", document.uuid)).pipe(as("s2", T))), T)
        })
      )

      test.effect("writes nothing new for a call that comes again", () =>
        Effect.gen(function* () {
          const store = yield* tag
          const document = documentOf("once")
          yield* store.upsert(document).pipe(as("s1", T, 3))
          yield* store.upsert(documentOf("twice", document.uuid)).pipe(as("s1", T, 3))
          assert.strictEqual(yield* title(store, document.uuid), "once")
          yield* store.upsert(documentOf("another call", document.uuid)).pipe(as("s1", T, 4))
          assert.strictEqual(yield* title(store, document.uuid), "another call")
        })
      )

      test.effect("restores exactly what was there, or nothing", () =>
        Effect.gen(function* () {
          const store = yield* tag
          const before = documentOf("before")
          yield* store.upsert(before).pipe(as("s1", T))
          const image = yield* store.image(before.uuid)
          yield* store.upsert(documentOf("after", before.uuid)).pipe(as("s2", T + 1))
          yield* store.restore(before.uuid, image).pipe(as("s2", T + 2))
          assert.deepStrictEqual(yield* store.find(before.uuid), Option.some(before))
          const fresh = documentOf("fresh")
          yield* store.upsert(fresh).pipe(as("s3", T))
          yield* store.restore(fresh.uuid, nothing).pipe(as("s3", T + 1))
          assert.isTrue(Option.isNone(yield* store.find(fresh.uuid)))
        })
      )

      test.effect("puts back whose it was, so that a redriven undo of that saga still finds its own", () =>
        Effect.gen(function* () {
          const store = yield* tag
          const orphan = documentOf("orphan")
          yield* store.upsert(orphan).pipe(as("s1", T, 2))
          const image = yield* store.image(orphan.uuid)
          assert.deepStrictEqual(image.stamp, Option.some({ sagaId: "s1", call: 2 }))
          yield* store.upsert(documentOf("over it", orphan.uuid)).pipe(as("s2", T + 1))
          yield* store.restore(orphan.uuid, image).pipe(as("s2", T + 2))
          assert.deepStrictEqual(yield* store.image(orphan.uuid), image)
          yield* store.restore(orphan.uuid, nothing).pipe(as("s1", T + 3, 2))
          assert.isTrue(Option.isNone(yield* store.find(orphan.uuid)))
        })
      )

      test.effect("puts back a tombstone as it was", () =>
        Effect.gen(function* () {
          const store = yield* tag
          const document = documentOf("gone before")
          yield* store.upsert(document).pipe(as("s1", T))
          yield* store.remove(document.uuid).pipe(as("s2", T + 1))
          const image = yield* store.image(document.uuid)
          assert.isTrue(Option.isNone(image.document))
          yield* store.upsert(document).pipe(as("s3", T + 2))
          yield* store.restore(document.uuid, image).pipe(as("s3", T + 3))
          assert.isTrue(Option.isNone(yield* store.find(document.uuid)))
        })
      )

      test.effect("refuses a write that lands after its undo", () =>
        Effect.gen(function* () {
          const store = yield* tag
          const document = documentOf("late")
          yield* store.restore(document.uuid, nothing).pipe(as("s1", T + 1))
          assert.strictEqual(yield* refusal(store.upsert(document).pipe(as("s1", T))), T + 1)
          assert.isTrue(Option.isNone(yield* store.find(document.uuid)))
        })
      )

      test.effect("restores only what the same saga wrote, and raises the floor even so", () =>
        Effect.gen(function* () {
          const store = yield* tag
          const document = documentOf("theirs")
          yield* store.upsert(document).pipe(as("s1", T))
          yield* store.restore(document.uuid, nothing).pipe(as("s2", T + 7))
          assert.strictEqual(yield* title(store, document.uuid), "theirs")
          assert.strictEqual(yield* refusal(store.upsert(document).pipe(as("s3", T + 6))), T + 7)
        })
      )

      test.effect("keeps the floor of what was removed, and takes a later write", () =>
        Effect.gen(function* () {
          const store = yield* tag
          const document = documentOf("gone")
          yield* store.upsert(document).pipe(as("s1", T))
          yield* store.remove(document.uuid).pipe(as("s2", T + 1))
          assert.isTrue(Option.isNone(yield* store.find(document.uuid)))
          assert.strictEqual(yield* refusal(store.upsert(document).pipe(as("s1", T, 1))), T + 1)
          yield* store.upsert(document).pipe(as("s3", T + 2))
          assert.strictEqual(yield* title(store, document.uuid), "gone")
        })
      )

      test.effect.prop(
        "of many writers at once the highest fence wins",
        [
          Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 }))).check(
            Schema.isMinLength(1),
            Schema.isMaxLength(12)
          )
        ],
        ([offsets]) =>
          Effect.gen(function* () {
            const store = yield* tag
            const uuid = randomUUID()
            const fences = [...new Set(offsets)]
            yield* Effect.forEach(
              fences,
              (offset) => Effect.exit(store.upsert(documentOf(`v${offset}`, uuid)).pipe(as(`s${offset}`, T + offset))),
              { concurrency: "unbounded" }
            )
            assert.strictEqual(yield* title(store, uuid), `v${Math.max(...fences)}`)
          })
      )
    })
  })
