/** Graphiti's REST server, as far as the document saga needs it: list, post and delete episodes of one group. */
import { Effect, type Redacted, Schema } from "effect"
import { HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http"
import { Rejected, StoreError, Unavailable } from "../StoreError.ts"

export interface GraphitiRestOptions {
  readonly url: string
  readonly group: string
  readonly apiKey: Redacted.Redacted | undefined
  readonly lastN: number
}

/** Of an episode as it is stored; `valid_at` says from when on it was known. */
const StoredEpisode = Schema.Struct({
  uuid: Schema.String,
  name: Schema.String,
  content: Schema.String,
  valid_at: Schema.String
})
export type StoredEpisode = typeof StoredEpisode.Type
const decodeEpisodes = Schema.decodeUnknownEffect(Schema.Array(StoredEpisode))

export interface Message {
  readonly name: string
  readonly content: string
  /** Without one, Graphiti takes the time it has: by its clock, which also decides what `list` shows. */
  readonly timestamp?: string
}

const ROLE = { role: "document", role_type: "system" } as const
/** Graphiti keeps who said it in front of what was said. */
const SAID = `${ROLE.role}(${ROLE.role_type}): `

type Response = HttpClientResponse.HttpClientResponse

export const unavailable = (operation: string, cause: unknown, transient = true) =>
  new StoreError({
    store: "graphiti",
    operation,
    transient,
    applied: "unknown",
    reason: new Unavailable({ cause })
  })

/** The same failure, of a call that did or did not change anything beside the request that failed. */
export const withApplied = (applied: StoreError["applied"]) => (error: StoreError) =>
  new StoreError({
    store: error.store,
    operation: error.operation,
    transient: error.transient,
    applied,
    reason: error.reason
  })

/** What it says no to was not done; what failed in it, or on the way, may have been. */
const failure = Effect.fnUntraced(function* (
  operation: string,
  response: Response
): Effect.fn.Return<never, StoreError> {
  const text = yield* Effect.orElseSucceed(response.text, () => "")
  const problem = `it answered ${response.status} ${text.slice(0, 500)}`
  const broken = unavailable(operation, new Error(problem))
  if (response.status >= 500) return yield* broken
  if (response.status === 429 || response.status === 408) return yield* withApplied("no")(broken)
  return yield* new StoreError({
    store: "graphiti",
    operation,
    transient: false,
    applied: "no",
    reason: new Rejected({ problem })
  })
})

export const makeGraphitiRest = (httpClient: HttpClient.HttpClient, options: GraphitiRestOptions) => {
  const { apiKey, group, lastN, url } = options
  const client = HttpClient.mapRequest(httpClient, (request) => {
    const at = HttpClientRequest.prependUrl(request, url)
    return apiKey === undefined ? at : HttpClientRequest.bearerToken(at, apiKey)
  })
  const ask = (operation: string, request: HttpClientRequest.HttpClientRequest) =>
    Effect.mapError(client.execute(request), (error) => unavailable(operation, error))
  const isOk = ({ status }: Response) => status >= 200 && status < 300

  return {
    /** The newest of the group, oldest first; reading changes nothing, so no failure of it may have. */
    list: (operation: string): Effect.Effect<ReadonlyArray<StoredEpisode>, StoreError> =>
      Effect.gen(function* () {
        const path = `/episodes/${encodeURIComponent(group)}`
        const response = yield* ask(operation, HttpClientRequest.get(path, { urlParams: { last_n: lastN } }))
        if (!isOk(response)) return yield* failure(operation, response)
        const episodes = yield* Effect.mapError(Effect.flatMap(response.json, decodeEpisodes), (cause) =>
          unavailable(operation, cause)
        )
        return episodes.map((one) =>
          one.content.startsWith(SAID) ? { ...one, content: one.content.slice(SAID.length) } : one
        )
      }).pipe(Effect.mapError(withApplied("no"))),

    /** Succeeds when they are accepted: they are stored later, if nothing goes wrong. */
    post: Effect.fnUntraced(function* (
      operation: string,
      messages: ReadonlyArray<Message>
    ): Effect.fn.Return<void, StoreError> {
      const body = {
        group_id: group,
        messages: messages.map((message) => ({ ...message, ...ROLE, source_description: "effect-saga" }))
      }
      const request = HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post("/messages"), body)
      const response = yield* ask(operation, request)
      if (!isOk(response)) yield* failure(operation, response)
    }),

    /** One that is gone already is gone. */
    remove: Effect.fnUntraced(function* (operation: string, uuid: string): Effect.fn.Return<void, StoreError> {
      const response = yield* ask(operation, HttpClientRequest.delete(`/episode/${encodeURIComponent(uuid)}`))
      if (!isOk(response) && response.status !== 404) yield* failure(operation, response)
    })
  }
}
