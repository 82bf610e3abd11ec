/** Where each document is, drawn as one line a store. */
import { Effect, Option } from "effect"
import { type Document, DocumentCache, DocumentStore, GraphStore, VectorStore } from "../../src/ingest/index.ts"

const mark = (found: Option.Option<Document>, version: string) =>
  Option.match(found, { onNone: () => "·", onSome: (document) => (document.title === version ? "■" : "▲") })

/** Titles in every store; undefined where the document is not. */
export const whereIs = Effect.fnUntraced(function* (uuid: string) {
  return [
    yield* (yield* DocumentStore).find(uuid),
    yield* (yield* GraphStore).find(uuid),
    yield* (yield* VectorStore).find(uuid),
    yield* (yield* DocumentCache).get(uuid)
  ]
})

/** `■` this version, `▲` another version, `·` nothing. */
export const picture = Effect.fnUntraced(function* (documents: ReadonlyArray<Document>) {
  const found = yield* Effect.forEach(documents, (document) => whereIs(document.uuid))
  return ["postgres", "neo4j", "qdrant", "redis"]
    .map((store, row) => {
      const marks = documents.map((document, i) => mark(found[i]?.[row] ?? Option.none(), document.title))
      return `    ${store.padEnd(9)} ${marks.join(" ")}`
    })
    .join("\n")
})

/** In all three stores in this version, or in none. */
export const wholeOrAbsent = Effect.fnUntraced(function* (document: Document) {
  const titles = (yield* whereIs(document.uuid))
    .slice(0, 3)
    .map((found) => Option.getOrUndefined(Option.map(found, (one) => one.title)))
  return new Set(titles).size === 1
})
