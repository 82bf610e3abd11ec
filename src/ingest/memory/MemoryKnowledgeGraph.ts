/** The knowledge graph within one process. */
import { DateTime, Effect, Layer } from "effect"
import { Step } from "../../index.ts"
import { type Episode, episodeContent, episodeName, episodePrefix, KnowledgeGraph } from "../KnowledgeGraph.ts"

const make = (): KnowledgeGraph["Service"] => {
  const episodes = new Map<string, Episode>()
  const of = (uuid: string) => [...episodes.values()].filter(({ name }) => name.startsWith(episodePrefix(uuid)))
  const put = (episode: Episode) => {
    if (!episodes.has(episode.name)) episodes.set(episode.name, episode)
  }
  return {
    episodes: (uuid) => Effect.sync(() => of(uuid)),
    add: Effect.fnUntraced(function* (document) {
      const name = episodeName(document.uuid, yield* Step.SagaRun)
      put({ name, content: episodeContent(document), at: DateTime.formatIso(yield* DateTime.now) })
    }),
    withdraw: (uuid) => Effect.map(Step.SagaRun, (run) => void episodes.delete(episodeName(uuid, run))),
    remove: (uuid) =>
      Effect.sync(() => {
        for (const { name } of of(uuid)) episodes.delete(name)
      }),
    restore: (missing) => Effect.sync(() => missing.forEach(put))
  }
}

export const layer: Layer.Layer<KnowledgeGraph> = Layer.sync(KnowledgeGraph, make)
