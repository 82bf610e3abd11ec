import { Effect, Layer } from "effect"
import { SagaMemory } from "effect-saga"
import { Document, Ingest, KnowledgeGraph, MemoryKnowledgeGraph, MemoryStores } from "effect-saga/ingest"

const ingest = Ingest.make({ parallel: true, knowledgeGraph: true })
const uuid = "6f2c1c8e-3f0a-4c55-9c1b-0d8f6a1b2c3d"
const document = new Document({
  uuid,
  title: "Sagas",
  body: "All or none.",
  embedding: [0, 1],
  links: [],
  metadata: {}
})

const known = Effect.gen(function* () {
  yield* ingest.execute(document)
  return (yield* (yield* KnowledgeGraph).episodes(uuid)).map(({ content }) => content)
})
const world = Layer.mergeAll(SagaMemory.layer, MemoryStores.layer, MemoryKnowledgeGraph.layer)
console.log(await Effect.runPromise(Effect.provide(known, world))) // [ 'Sagas\n\nAll or none.' ]
