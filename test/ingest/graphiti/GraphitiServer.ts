/**
 * A server that keeps the contract of Graphiti's: messages are accepted at once, without an id, and stored later, with
 * who said it in front; episodes are listed oldest first, and those of the future not at all; deleting one that is gone
 * answers 404.
 */
import { NodeHttpServer } from "@effect/platform-node"
import { Context, DateTime, Effect, Layer, Schema } from "effect"
import {
  HttpClient,
  HttpClientError,
  HttpClientRequest,
  HttpClientResponse,
  HttpRouter,
  HttpServerError,
  HttpServerRequest,
  HttpServerResponse
} from "effect/http"

export type Behaviour =
  | "works"
  | "refuses"
  | "busy"
  | "breaks"
  /** Does what it is asked, and never answers. */
  | "hangs"
  /** Does what it is asked, and the connection breaks (only in `layerInFiber`). */
  | "drops"
  /** Accepts, and nothing comes of it. */
  | "never stores"

type Method = "GET" | "POST" | "DELETE"

interface StoredEpisode {
  readonly uuid: string
  readonly group_id: string
  readonly name: string
  readonly content: string
  readonly valid_at: string
}

export class Graphiti extends Context.Service<
  Graphiti,
  {
    readonly episodes: Array<StoredEpisode>
    /** Those that were served, not the refused ones. */
    readonly served: Array<Method>
    /** Of the next requests; the last one stays. */
    readonly behaviours: Record<Method, Array<Behaviour>>
    /** Milliseconds from accepting to storing. */
    delay: number
  }
>()("test/Graphiti") {
  static readonly layer = Layer.sync(Graphiti, () => ({
    episodes: [],
    served: [],
    behaviours: { GET: [], POST: [], DELETE: [] },
    delay: 100
  }))
}

const Messages = Schema.Struct({
  group_id: Schema.String.check(Schema.isPattern(/^[\w-]+$/)),
  messages: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      content: Schema.String,
      timestamp: Schema.optionalKey(Schema.String),
      role_type: Schema.Literals(["user", "assistant", "system"]),
      role: Schema.String,
      source_description: Schema.String
    })
  )
})

const answers = {
  refuses: HttpServerResponse.text("not like this", { status: 422 }),
  busy: HttpServerResponse.text("slow down", { status: 429 }),
  breaks: HttpServerResponse.text("no model", { status: 500 })
}

const DROPPED = "x-dropped"

const routes = Layer.unwrap(
  Effect.map(Graphiti, (graphiti) => {
    let ids = 0

    const route = <E, R>(
      method: Method,
      path: `/${string}`,
      serve: (behaviour: Behaviour) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
    ) =>
      HttpRouter.add(
        method,
        path,
        Effect.suspend(() => {
          const planned = graphiti.behaviours[method]
          const behaviour = (planned.length > 1 ? planned.shift() : planned[0]) ?? "works"
          if (behaviour === "refuses" || behaviour === "busy" || behaviour === "breaks") {
            return Effect.succeed(answers[behaviour])
          }
          graphiti.served.push(method)
          const response = Effect.orDie(serve(behaviour))
          if (behaviour === "hangs") return Effect.andThen(response, Effect.never)
          return behaviour === "drops" ? Effect.map(response, HttpServerResponse.setHeader(DROPPED, "yes")) : response
        })
      )

    const store = Effect.fnUntraced(function* ({ group_id, messages }: typeof Messages.Type) {
      yield* Effect.sleep(graphiti.delay)
      const now = DateTime.formatIso(yield* DateTime.now)
      for (const { content, name, role, role_type, timestamp = now } of messages) {
        const uuid = `episode-${++ids}`
        graphiti.episodes.push({
          uuid,
          group_id,
          name,
          content: `${role}(${role_type}): ${content}`,
          valid_at: timestamp
        })
      }
    })

    const post = route("POST", "/messages", (behaviour) =>
      Effect.gen(function* () {
        const request = yield* HttpServerRequest.HttpServerRequest
        const accepted = yield* Effect.flatMap(request.json, Schema.decodeUnknownEffect(Messages))
        if (behaviour !== "never stores") yield* Effect.forkDetach(store(accepted))
        const body = { message: "Messages added to processing queue", success: true }
        return HttpServerResponse.jsonUnsafe(body, { status: 202 })
      })
    )
    const list = route("GET", "/episodes/:group", () =>
      Effect.gen(function* () {
        const request = yield* HttpServerRequest.HttpServerRequest
        const last = Number(new URL(request.url, "http://x").searchParams.get("last_n"))
        const { group = "" } = yield* HttpRouter.params
        const now = DateTime.formatIso(yield* DateTime.now)
        const known = graphiti.episodes.filter(({ group_id, valid_at }) => group_id === group && valid_at <= now)
        return HttpServerResponse.jsonUnsafe(
          known.toSorted((one, other) => (one.valid_at < other.valid_at ? -1 : 1)).slice(-last)
        )
      })
    )
    const remove = route("DELETE", "/episode/:uuid", () =>
      Effect.gen(function* () {
        const { uuid = "" } = yield* HttpRouter.params
        const at = graphiti.episodes.findIndex((episode) => episode.uuid === uuid)
        if (at < 0) return HttpServerResponse.text("gone", { status: 404 })
        graphiti.episodes.splice(at, 1)
        return HttpServerResponse.jsonUnsafe({ success: true })
      })
    )
    return Layer.mergeAll(post, list, remove)
  })
)

/** The server on a port, and a client whose requests go to it. */
export const layer = HttpRouter.serve(routes, { disableLogger: true }).pipe(
  Layer.provideMerge(NodeHttpServer.layerTest),
  Layer.provideMerge(Graphiti.layer)
)

/** The server in the fiber of whoever asks, at `http://graphiti`: no port, and the test's clock. */
export const layerInFiber = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(HttpRouter.toHttpEffect(routes), (handle) =>
    HttpClient.make((request) =>
      Effect.gen(function* () {
        const asked = HttpServerRequest.fromWeb(yield* Effect.orDie(HttpClientRequest.toWeb(request)))
        const response = yield* handle.pipe(
          Effect.provideService(HttpServerRequest.HttpServerRequest, asked),
          Effect.scoped,
          Effect.catchCause((cause) => Effect.map(HttpServerError.causeResponse(cause), ([failure]) => failure))
        )
        if (DROPPED in response.headers) {
          const reason = new HttpClientError.TransportError({ request, description: "connection reset" })
          return yield* new HttpClientError.HttpClientError({ reason })
        }
        return HttpClientResponse.fromWeb(request, HttpServerResponse.toWeb(response))
      })
    )
  )
).pipe(Layer.provideMerge(Graphiti.layer))
