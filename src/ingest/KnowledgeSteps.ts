/** The steps of the document saga in the knowledge graph, for those who ask for it. */
import { Effect, Schema } from "effect"
import { Step } from "../index.ts"
import { Document, Uuid } from "./Document.ts"
import { Episode, KnowledgeGraph } from "./KnowledgeGraph.ts"
import { StoreError } from "./StoreError.ts"

const policy = {
  error: StoreError,
  dependency: "graphiti",
  isTransient: (error: StoreError) => error.transient,
  notApplied: (error: StoreError) => error.applied === "no",
  // A language model reads each episode before it appears.
  timeout: "60 seconds",
  // It has no floors: what was still on its way when it was undone may appear afterwards.
  fenced: false
} as const

export const addEpisode = Step.make("graphiti.add", {
  ...policy,
  input: Document,
  rollback: "delete",
  execute: (document) => Effect.flatMap(KnowledgeGraph, (graph) => graph.add(document)),
  compensate: (document) => Effect.flatMap(KnowledgeGraph, (graph) => graph.withdraw(document.uuid))
})

export const removeEpisodes = Step.make("graphiti.remove", {
  ...policy,
  input: Uuid,
  before: Schema.Array(Episode),
  rollback: "restore",
  prepare: (uuid) => Effect.flatMap(KnowledgeGraph, (graph) => graph.episodes(uuid)),
  execute: (uuid) => Effect.flatMap(KnowledgeGraph, (graph) => graph.remove(uuid)),
  compensate: (_, { before }) => Effect.flatMap(KnowledgeGraph, (graph) => graph.restore(before))
})
