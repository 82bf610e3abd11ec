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
 * Graphiti neither compares nor keeps tombstones: an episode that was still on its way when its saga was undone may
 * appear later. The step says so (`fenced: false`), and a `verify` dead letter has the undo looked at again. Episodes are
 * looked for among the `lastN` newest of the group (10,000 unless said).
 */
import { Config, DateTime, Duration, Effect, Layer, Option, type Redacted, Schedule, Schema } from "effect"
import { HttpClient, type HttpClientError, HttpClientRequest, type HttpClientResponse } from "effect/http"
import { Step } from "../../index.ts"
import { type Episode, episodeName, episodePrefix, KnowledgeGraph } from "../KnowledgeGraph.ts"
import { Rejected, StoreError, Unavailable } from "../StoreError.ts"

export interface Options {
  /** Such as `http://127.0.0.1:8000`. */
  readonly url: string
  /** Graphiti's `group_id`; "documents" unless said. */
  readonly group?: string
  /** Sent as a bearer token. */
  readonly apiKey?: Redacted.Redacted
  /** How long an accepted episode may take to appear; 8 seconds unless said, which is less than a step's limit. */
  readonly patience?: Duration.Input
  readonly lastN?: number
}

const Stored = Schema.Struct({ uuid: Schema.String, name: Schema.String, content: Schema.String })
const Episodes = Schema.Array(Stored)

const make = Effect.fnUntraced(function* (options: Options) {
  const { apiKey, group = "documents", lastN = 10_000 } = options
  const patience = Duration.fromInputUnsafe(options.patience ?? "8 seconds")
  const client = HttpClient.mapRequest(yield* HttpClient.HttpClient, (request) => {
    const at = HttpClientRequest.prependUrl(request, options.url)
    return apiKey === undefined ? at : HttpClientRequest.bearerToken(at, apiKey)
  })

  const unavailable = (operation: string, cause: unknown) =>
    new StoreError({
      store: "graphiti",
      operation,
      transient: true,
      applied: "unknown",
      reason: new Unavailable({ cause })
    })
  /** What it says no to was not done; what failed in it, or on the way, may have been. */
  const ask = Effect.fnUntraced(function* (
    operation: string,
    request: HttpClientRequest.HttpClientRequest
  ): Effect.fn.Return<Option.Option<HttpClientResponse.HttpClientResponse>, StoreError> {
    const response = yield* Effect.mapError(client.execute(request), (error: HttpClientError.HttpClientError) =>
      unavailable(operation, error)
    )
    if (response.status === 404) return Option.none()
    if (response.status < 300) return Option.some(response)
    const text = yield* Effect.orElseSucceed(response.text, () => "")
    const problem = `it answered ${response.status} ${text.slice(0, 500)}`
    if (response.status >= 500) return yield* unavailable(operation, new Error(problem))
    const busy = response.status === 429 || response.status === 408
    return yield* new StoreError({
      store: "graphiti",
      operation,
      transient: busy,
      applied: "no",
      reason: busy ? new Unavailable({ cause: new Error(problem) }) : new Rejected({ problem })
    })
  })

  const stored = Effect.fnUntraced(function* (operation: string, matches: (name: string) => boolean) {
    const path = `/episodes/${encodeURIComponent(group)}`
    const answer = yield* ask(
      operation,
      HttpClientRequest.get(path).pipe(HttpClientRequest.setUrlParam("last_n", `${lastN}`))
    )
    if (Option.isNone(answer)) return []
    const all = yield* Effect.mapError(
      Effect.flatMap(answer.value.json, Schema.decodeUnknownEffect(Episodes)),
      (cause) => unavailable(operation, cause)
    )
    return all.filter(({ name }) => matches(name))
  })

  const put = Effect.fnUntraced(function* (operation: string, { content, name }: Episode) {
    const there = Effect.map(
      stored(operation, (one) => one === name),
      (found) => found.length > 0
    )
    if (yield* there) return
    const timestamp = DateTime.formatIso(yield* DateTime.now)
    const message = {
      name,
      content,
      timestamp,
      role_type: "system",
      role: "document",
      source_description: "effect-saga"
    }
    yield* ask(
      operation,
      HttpClientRequest.post("/messages").pipe(
        HttpClientRequest.bodyJsonUnsafe({ group_id: group, messages: [message] })
      )
    )
    yield* Effect.flatMap(there, (seen) =>
      seen ? Effect.void : Effect.fail(unavailable(operation, new Error("it was accepted and has not appeared yet")))
    ).pipe(
      Effect.retry(
        Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("500 millis")]).pipe(
          Schedule.upTo({ duration: patience })
        )
      )
    )
  })

  const removeAll = Effect.fnUntraced(function* (operation: string, matches: (name: string) => boolean) {
    for (const { uuid } of yield* stored(operation, matches)) {
      // One that is gone already is gone.
      yield* ask(operation, HttpClientRequest.delete(`/episode/${encodeURIComponent(uuid)}`))
    }
  })

  return KnowledgeGraph.of({
    episodes: (uuid) =>
      Effect.map(
        stored("find", (name) => name.startsWith(episodePrefix(uuid))),
        (found) => found.map(({ content, name }) => ({ content, name }))
      ),
    add: (document) =>
      Effect.flatMap(Step.SagaRun, (run) =>
        put("add", { name: episodeName(document.uuid, run), content: `${document.title}\n\n${document.body}` })
      ),
    withdraw: (uuid) =>
      Effect.flatMap(Step.SagaRun, (run) => removeAll("withdraw", (name) => name === episodeName(uuid, run))),
    remove: (uuid) => removeAll("remove", (name) => name.startsWith(episodePrefix(uuid))),
    restore: (missing) => Effect.forEach(missing, (episode) => put("restore", episode), { discard: true })
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
