/**
 * A server that keeps Graphiti's contract, in this process: messages are accepted at once, without an id, and stored
 * later; episodes are listed newest last; deleting one that is gone answers 404.
 */
import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"

export type Behaviour = "works" | "refuses" | "busy" | "breaks" | "loses the reply" | "never stores"

export class Graphiti extends Context.Service<
  Graphiti,
  {
    readonly episodes: Array<{ readonly uuid: string; readonly name: string; readonly content: string }>
    readonly requests: Array<string>
    /** Of the next posts; the last one stays. */
    behaviours: Array<Behaviour>
    /** Milliseconds from accepting to storing. */
    delay: number
  }
>()("test/Graphiti") {
  static readonly layer = Layer.sync(Graphiti, () => ({
    episodes: [],
    requests: [],
    behaviours: [],
    delay: 100
  }))
}

const Messages = Schema.Struct({
  group_id: Schema.String,
  messages: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      content: Schema.String,
      timestamp: Schema.String,
      role_type: Schema.Literals(["user", "assistant", "system"]),
      role: Schema.String,
      source_description: Schema.String
    })
  )
})

const routes = Layer.unwrap(
  Effect.map(Graphiti, (graphiti) => {
    let ids = 0
    const post = Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const { messages } = yield* Effect.orDie(Effect.flatMap(request.json, Schema.decodeUnknownEffect(Messages)))
      graphiti.requests.push("POST")
      const { behaviours } = graphiti
      const behaviour = (behaviours.length > 1 ? behaviours.shift() : behaviours[0]) ?? "works"
      if (behaviour === "refuses") return HttpServerResponse.text("no such group", { status: 422 })
      if (behaviour === "busy") return HttpServerResponse.text("slow down", { status: 429 })
      if (behaviour === "breaks") return HttpServerResponse.text("no model", { status: 500 })
      if (behaviour !== "never stores") {
        yield* Effect.forkDetach(
          Effect.delay(
            Effect.sync(() => {
              for (const { content, name } of messages)
                graphiti.episodes.push({ uuid: `episode-${++ids}`, name, content })
            }),
            graphiti.delay
          )
        )
      }
      if (behaviour === "loses the reply") return yield* Effect.never
      return HttpServerResponse.jsonUnsafe(
        { message: "Messages added to processing queue", success: true },
        { status: 202 }
      )
    })
    const list = Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const last = Number(new URL(request.url, "http://x").searchParams.get("last_n"))
      return HttpServerResponse.jsonUnsafe(graphiti.episodes.slice(-last))
    })
    const remove = Effect.gen(function* () {
      const { uuid = "" } = yield* HttpRouter.params
      graphiti.requests.push("DELETE")
      const at = graphiti.episodes.findIndex((episode) => episode.uuid === uuid)
      if (at < 0) return HttpServerResponse.text("gone", { status: 404 })
      graphiti.episodes.splice(at, 1)
      return HttpServerResponse.jsonUnsafe({ success: true })
    })
    return Layer.mergeAll(
      HttpRouter.add("POST", "/messages", post),
      HttpRouter.add("GET", "/episodes/:group", list),
      HttpRouter.add("DELETE", "/episode/:uuid", remove)
    )
  })
)

/** The server, and a client whose requests go to it. */
export const layer = HttpRouter.serve(routes, { disableLogger: true }).pipe(
  Layer.provideMerge(NodeHttpServer.layerTest),
  Layer.provideMerge(Graphiti.layer)
)
