import { Effect } from "effect"
import { Qdrant } from "effect-saga"

const title = Effect.flatMap(Qdrant, (qdrant) => qdrant.payload("documents", "1", ["title"]))
// QdrantRest.layerConfig has a real one; here is one for a test.
const empty = Qdrant.of({
  version: Effect.succeed("1.18.0"),
  ensureCollection: () => Effect.void,
  update: () => Effect.void,
  payload: () => Effect.succeed(undefined)
})
console.log(await Effect.runPromise(Effect.provideService(title, Qdrant, empty))) // undefined
