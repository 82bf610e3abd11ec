/**
 * A knowledge graph that learns from documents, episode by episode. Earlier episodes of a document stay, as what was
 * known then; undoing takes away only what the same saga added.
 */
import { Context, type Effect, Schema } from "effect"
import type { Step } from "../index.ts"
import type { Document } from "./Document.ts"
import type { StoreError } from "./StoreError.ts"

/**
 * `name` is our key: the document, the saga and its call. The graph gives its own ids, and only afterwards. `at` says
 * since when it is known, as ISO 8601.
 */
export const Episode = Schema.Struct({ name: Schema.String, content: Schema.String, at: Schema.String })
export type Episode = typeof Episode.Type

/** The names of a document's episodes begin with this. */
export const episodePrefix = (uuid: string): string => `${uuid}@`

export const episodeName = (uuid: string, run: Step.SagaRun["Service"]): string =>
  `${episodePrefix(uuid)}${run.sagaId}/${run.call}`

export const episodeContent = ({ body, title }: Document): string => `${title}\n\n${body}`

export class KnowledgeGraph extends Context.Service<
  KnowledgeGraph,
  {
    /** All that is there of the document. */
    readonly episodes: (uuid: string) => Effect.Effect<ReadonlyArray<Episode>, StoreError>
    /** Adds the document's episode; when this call has added it already, nothing. */
    readonly add: (document: Document) => Effect.Effect<void, StoreError, Step.SagaRun>
    /** Takes away what this call added, if it is there. */
    readonly withdraw: (uuid: string) => Effect.Effect<void, StoreError, Step.SagaRun>
    /** Takes away all episodes of the document. */
    readonly remove: (uuid: string) => Effect.Effect<void, StoreError, Step.SagaRun>
    /** Adds those that are missing, with the names and times they had. */
    readonly restore: (episodes: ReadonlyArray<Episode>) => Effect.Effect<void, StoreError, Step.SagaRun>
  }
>()("effect-saga/ingest/KnowledgeGraph") {}
