/** What must not compile, beyond the published usage: each `@ts-expect-error` fails `npm run check` once it does. */
import { Effect, Layer, Schema } from "effect"
import { DeadLetterWorker, Saga, SagaMemory, SagaRecovery, Step } from "effect-saga"
import { type Document, Ingest, ingestDocument, MemoryKnowledgeGraph, MemoryStores } from "effect-saga/ingest"
import { Explorer } from "effect-saga/testing"

declare const document: Document
const everything = Layer.merge(SagaMemory.layer, MemoryStores.layer)
/** Compiles only for a program that needs nothing more. */
const runs = <A, E>(_program: Effect.Effect<A, E>) => {}

// ---- services --------------------------------------------------------------
runs(ingestDocument.execute(document).pipe(Effect.provide(everything)))
// @ts-expect-error the stores are missing
runs(ingestDocument.execute(document).pipe(Effect.provide(SagaMemory.layer)))
// @ts-expect-error lock, guard, breakers and dead letters are missing
runs(ingestDocument.execute(document).pipe(Effect.provide(MemoryStores.layer)))

const knowing = Ingest.make({ knowledgeGraph: true })
runs(knowing.execute(document).pipe(Effect.provide([everything, MemoryKnowledgeGraph.layer])))
// @ts-expect-error only who asks for the knowledge graph needs it, and he does
runs(knowing.execute(document).pipe(Effect.provide(everything)))

// ---- steps -----------------------------------------------------------------
class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}
class Unlisted extends Schema.TaggedError<Unlisted>()("Unlisted", {}) {}
const parts = { input: Schema.String, error: Refused, compensate: () => Effect.void }
const good = Step.make("good", { ...parts, execute: () => Effect.fail(new Refused()) })
// @ts-expect-error it fails with an error that its schema does not have
Step.make("bad", { ...parts, execute: () => Effect.fail(new Unlisted()) })
// @ts-expect-error a step says how it is undone, or is retriable
Step.make("bad", { input: Schema.String, execute: () => Effect.void })
// @ts-expect-error a retriable step is never undone
Step.retriable("bad", { input: Schema.String, execute: () => Effect.void, compensate: () => Effect.void })
const last = Step.retriable("last", { input: Schema.String, error: Refused, execute: () => Effect.fail(new Refused()) })

// ---- sagas -----------------------------------------------------------------
const saga = { payload: Schema.String, resource: (id: string) => id }
// @ts-expect-error the step's error is not declared
Saga.make("Bad", { ...saga, steps: [good], run: (id) => good(id) })
// A retriable step fails no saga: it is parked.
Saga.make("Good", { ...saga, steps: [last], run: (id) => last(id) })
// @ts-expect-error the payload has another type
Saga.make("Good", { ...saga, steps: [], run: () => Effect.void }).execute(1)
// @ts-expect-error it does not yield what it declares
Saga.make("Bad", { ...saga, success: Schema.Int, steps: [], run: () => Effect.void })
const inner = Saga.asStep(Saga.make("Inner", { ...saga, error: Refused, steps: [good], run: (id) => good(id) }))
const outer = Saga.make("Outer", { ...saga, error: Refused, steps: [], run: (id) => inner(id) })
// @ts-expect-error a nested saga is listed like any step
runs(outer.execute("id").pipe(Effect.provide(SagaMemory.layer)))

// ---- workers, redrive, explorer --------------------------------------------
/** Compiles only for a layer that needs nothing more. */
const builds = (_layer: Layer.Layer<never>) => {}
builds(DeadLetterWorker.layer({ sagas: [ingestDocument] }).pipe(Layer.provide(everything)))
// @ts-expect-error a worker needs the stores of the sagas whose letters it redrives
builds(DeadLetterWorker.layer({ sagas: [ingestDocument] }).pipe(Layer.provide(SagaMemory.layer)))
// @ts-expect-error so does recovery
builds(SagaRecovery.layer({ sagas: [ingestDocument] }).pipe(Layer.provide(SagaMemory.layer)))
// @ts-expect-error and redriving by hand
runs(Saga.redrive([ingestDocument]).one("id").pipe(Effect.provide(SagaMemory.layer)))
const empty = { payload: document, second: document, world: Layer.empty, snapshot: Effect.succeed(null) }
// @ts-expect-error the world has to hold the stores of the saga
Explorer.explore(ingestDocument, empty)
