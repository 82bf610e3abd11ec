/**
 * The knowledge graph in Graphiti, over its REST server and Effect's HttpClient.
 *
 * **Details**
 *
 * `POST /messages` answers before anything is stored and without an id, so our key goes into the episode's name, and
 * adding waits until the episode can be seen. A call that is made again looks first.
 *
 * **Gotchas**
 *
 * - Graphiti neither compares nor keeps tombstones: an episode that was still on its way when its saga was undone may
 *   appear later. The step says so (`fenced: false`), and a `verify` dead letter has the undo looked at again.
 * - An episode whose reply was lost may be stored twice; the second goes when a call or an undo sees it.
 * - Episodes are looked for among the `lastN` newest of the group (10,000 unless said).
 */
import { Config, Duration, Effect, Layer, Option, type Redacted, Schedule } from "effect"
import { HttpClient } from "effect/http"
import { Step } from "../../index.ts"
import { type Episode, episodeContent, episodeName, episodePrefix, KnowledgeGraph } from "../KnowledgeGraph.ts"
import type { StoreError } from "../StoreError.ts"
import { type Message, makeGraphitiRest, type StoredEpisode, unavailable, withApplied } from "./GraphitiRest.ts"

export interface Options {
  /** Such as `http://127.0.0.1:8000`. */
  readonly url: string
  /** Graphiti's `group_id`; "documents" unless said. */
  readonly group?: string
  /** Sent as a bearer token. */
  readonly apiKey?: Redacted.Redacted
  /**
   * How long an accepted episode may take to appear: a language model reads it first. 50 seconds unless said, which is
   * less than the limit of the step (60 seconds).
   */
  readonly patience?: Duration.Input
  readonly lastN?: number
}

/** Less than the limit of one attempt to undo, which is 30 seconds. */
const PATIENCE_TO_UNDO = Duration.seconds(25)
/** The list is long, so it is not asked for more often than needed. */
const looking = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("2 seconds")])

const make = Effect.fnUntraced(function* (options: Options) {
  const patience = Duration.fromInputUnsafe(options.patience ?? "50 seconds")
  const rest = makeGraphitiRest(yield* HttpClient.HttpClient, {
    url: options.url,
    group: options.group ?? "documents",
    apiKey: options.apiKey,
    lastN: options.lastN ?? 10_000
  })

  const stored = (operation: string, matches: (name: string) => boolean) =>
    Effect.map(rest.list(operation), (all) => all.filter(({ name }) => matches(name)))

  /** Once one is gone, a failure no longer means that nothing was changed. */
  const removeEach = Effect.fnUntraced(function* (
    operation: string,
    episodes: ReadonlyArray<StoredEpisode>
  ): Effect.fn.Return<void, StoreError> {
    for (const [index, { uuid }] of episodes.entries()) {
      const removed = rest.remove(operation, uuid)
      yield* index === 0 ? removed : Effect.mapError(removed, withApplied("unknown"))
    }
  })
  const removeAll = (operation: string, matches: (name: string) => boolean) =>
    Effect.flatMap(stored(operation, matches), (found) => removeEach(operation, found))

  /** Those that cannot be seen yet; of one that is there twice the later goes. */
  const missing = Effect.fnUntraced(function* (
    operation: string,
    messages: ReadonlyArray<Message>
  ): Effect.fn.Return<ReadonlyArray<Message>, StoreError> {
    const wanted = new Set(messages.map(({ name }) => name))
    const seen = new Set<string>()
    const repeated: Array<StoredEpisode> = []
    for (const episode of yield* stored(operation, (name) => wanted.has(name))) {
      if (seen.has(episode.name)) repeated.push(episode)
      seen.add(episode.name)
    }
    yield* removeEach(operation, repeated)
    return messages.filter(({ name }) => !seen.has(name))
  })

  const put = Effect.fnUntraced(function* (
    operation: string,
    messages: ReadonlyArray<Message>,
    within: Duration.Duration
  ): Effect.fn.Return<void, StoreError> {
    const absent = yield* missing(operation, messages)
    if (absent.length === 0) return
    yield* rest.post(operation, absent)
    // Not transient: another attempt would post it again, and it would be there twice.
    const late = unavailable(operation, new Error("it was accepted and has not appeared yet"), false)
    yield* Effect.flatMap(missing(operation, absent), (left) =>
      left.length === 0 ? Effect.void : Effect.fail(late)
    ).pipe(
      Effect.retry({ schedule: looking, while: (error) => error === late || error.transient }),
      Effect.timeoutOrElse({ duration: within, orElse: () => Effect.fail(late) }),
      Effect.mapError(withApplied("unknown"))
    )
  })

  return KnowledgeGraph.of({
    episodes: (uuid) =>
      Effect.map(
        stored("find", (name) => name.startsWith(episodePrefix(uuid))),
        (found) => found.map(({ content, name, valid_at }): Episode => ({ name, content, at: valid_at }))
      ),
    add: (document) =>
      Effect.flatMap(Step.SagaRun, (run) =>
        put("add", [{ name: episodeName(document.uuid, run), content: episodeContent(document) }], patience)
      ),
    withdraw: (uuid) =>
      Effect.flatMap(Step.SagaRun, (run) => removeAll("withdraw", (name) => name === episodeName(uuid, run))),
    remove: (uuid) => removeAll("remove", (name) => name.startsWith(episodePrefix(uuid))),
    restore: (episodes) =>
      put(
        "restore",
        episodes.map(({ at, content, name }) => ({ name, content, timestamp: at })),
        Duration.min(patience, PATIENCE_TO_UNDO)
      )
  })
})

export const layer = (options: Options): Layer.Layer<KnowledgeGraph, never, HttpClient.HttpClient> =>
  Layer.effect(KnowledgeGraph, make(options))

/** From `GRAPHITI_URL`, and `GRAPHITI_GROUP` and `GRAPHITI_API_KEY` if there are. */
export const layerConfig: Layer.Layer<KnowledgeGraph, Config.ConfigError, HttpClient.HttpClient> = Layer.unwrap(
  Effect.map(
    Config.all({
      url: Config.String("GRAPHITI_URL"),
      group: Config.String("GRAPHITI_GROUP").pipe(Config.withDefault("documents")),
      apiKey: Config.option(Config.Redacted("GRAPHITI_API_KEY"))
    }),
    ({ apiKey, group, url }) => layer({ url, group, ...(Option.isSome(apiKey) ? { apiKey: apiKey.value } : {}) })
  )
)
