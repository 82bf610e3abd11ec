import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { HttpBody, HttpClient, HttpRouter } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { CircuitBreakers, SagaMemory } from "../../src/index.ts"
import { MemoryStores } from "../../src/ingest/index.ts"
import { Api } from "./Api.ts"
import { routes } from "./Routes.ts"

const server = HttpRouter.serve(routes, { disableLogger: true }).pipe(
  Layer.provideMerge(Layer.merge(SagaMemory.layer, MemoryStores.layer)),
  Layer.provideMerge(NodeHttpServer.layerTest)
)
let documents = 0
const freshUrl = () => `/documents/6f2c1c8e-3f0a-4c55-9c1b-${String(++documents).padStart(12, "0")}`
const document = {
  title: "t",
  body: "b",
  embedding: [0.5] as const,
  links: [],
  metadata: { tags: ["a"], nested: { n: null } }
}
const post = (url: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  HttpClient.post(url, { body: HttpBody.jsonUnsafe(body), headers })
const sendText = (text: string, contentType: string) =>
  HttpClient.post(freshUrl(), { body: HttpBody.text(text, contentType) })

const Issues = Schema.Struct({
  status: Schema.Int,
  errors: Schema.Array(Schema.Struct({ path: Schema.Array(Schema.Union([Schema.String, Schema.Number])) }))
})

describe("the example HTTP server", () => {
  it.layer(server, { excludeTestServices: true })((test) => {
    test.effect("ingests, replays, reads and removes a document", () =>
      Effect.gen(function* () {
        const url = freshUrl()
        const first = yield* post(url, document)
        const again = yield* post(url, document)
        assert.deepStrictEqual([first.status, again.status], [201, 200])
        assert.deepStrictEqual(
          [first.headers["idempotent-replayed"], again.headers["idempotent-replayed"]],
          ["false", "true"]
        )
        assert.strictEqual(first.headers["saga-id"], again.headers["saga-id"])
        const read = yield* HttpClient.get(url)
        assert.deepStrictEqual(yield* read.json, { uuid: url.slice(-36), ...document })
        assert.strictEqual((yield* HttpClient.del(url)).status, 204)
        const gone = yield* HttpClient.get(url)
        assert.deepStrictEqual([gone.status, gone.headers["content-type"]], [404, "application/problem+json"])
        assert.strictEqual((yield* post(url, document)).status, 201)
      })
    )

    test.effect("replays the answer to a caller's key, also when something else was written since", () =>
      Effect.gen(function* () {
        const url = freshUrl()
        const key = { "idempotency-key": `first of ${url}` }
        const first = yield* post(url, document, key)
        yield* post(url, { ...document, title: "another" })
        const again = yield* post(url, document, key)
        assert.deepStrictEqual([first.status, again.status], [201, 200])
        assert.strictEqual(again.headers["saga-id"], first.headers["saga-id"])
        assert.include(yield* (yield* HttpClient.get(url)).text, "another")
        const removal = { "idempotency-key": `removal of ${url}` }
        const removed = yield* HttpClient.del(url, { headers: removal })
        const removedAgain = yield* HttpClient.del(url, { headers: removal })
        assert.deepStrictEqual([removed.status, removedAgain.status], [204, 204])
        assert.strictEqual(removedAgain.headers["idempotent-replayed"], "true")
      })
    )

    test.effect("refuses a key with another payload, and a key that is none", () =>
      Effect.gen(function* () {
        const url = freshUrl()
        const key = { "idempotency-key": `once for ${url}` }
        yield* post(url, document, key)
        const reused = yield* post(url, { ...document, title: "another" }, key)
        assert.strictEqual(reused.status, 422)
        assert.include(yield* reused.text, "urn:effect-saga:KeyReused")
        assert.notInclude(yield* (yield* HttpClient.get(url)).text, "another")
        const long = yield* post(url, document, { "idempotency-key": "k".repeat(256) })
        assert.strictEqual(long.status, 400)
        assert.include(yield* long.text, "urn:effect-saga:InvalidKey")
      })
    )

    for (const [what, body, path] of [
      ["an empty title", { ...document, title: "" }, ["payload", "title"]],
      ["no vector", { ...document, embedding: undefined }, ["payload", "embedding"]],
      ["an empty vector", { ...document, embedding: [] }, ["payload", "embedding", 0]],
      ["text in the vector", { ...document, embedding: [0.5, "x"] }, ["payload", "embedding", 1]],
      ["a link that is no UUID", { ...document, links: ["x"] }, ["payload", "links", 0]],
      ["a list for metadata", { ...document, metadata: [] }, ["payload", "metadata"]],
      ["null", null, ["payload"]]
    ] as const) {
      test.effect(`says where a body is wrong: ${what}`, () =>
        Effect.gen(function* () {
          const answer = yield* post(freshUrl(), body)
          assert.deepStrictEqual([answer.status, answer.headers["content-type"]], [400, "application/problem+json"])
          const problem = Schema.decodeUnknownSync(Issues)(yield* answer.json)
          assert.deepStrictEqual([problem.status, problem.errors[0]?.path], [400, path])
        })
      )
    }

    for (const [what, text, contentType, status] of [
      ["half of a JSON text", '{"title":', "application/json", 400],
      ["nothing", "", "application/json", 400],
      ["bytes that are no text", "\u0000\u0001", "application/json", 400],
      ["another media type", JSON.stringify(document), "text/plain", 415]
    ] as const) {
      test.effect(`answers ${status} to ${what}`, () =>
        Effect.gen(function* () {
          assert.strictEqual((yield* sendText(text, contentType)).status, status)
        })
      )
    }

    test.effect("answers 400 to a path that is no UUID, and 404 to one that is not there", () =>
      Effect.gen(function* () {
        for (const request of [post("/documents/x", document), HttpClient.get("/documents/x")]) {
          const answer = yield* request
          assert.deepStrictEqual([answer.status, answer.headers["content-type"]], [400, "application/problem+json"])
        }
        assert.strictEqual((yield* HttpClient.get("/nothing")).status, 404)
      })
    )

    test.effect("gives a typed client the document, and the problem as an error", () =>
      Effect.gen(function* () {
        const client = yield* HttpApiClient.make(Api)
        const uuid = freshUrl().slice(-36)
        const written = yield* client.documents.write({ params: { uuid }, headers: {}, payload: document })
        assert.deepStrictEqual(written.body, { uuid, replayed: false })
        yield* client.documents.remove({ params: { uuid }, headers: {} })
        const error = yield* Effect.flip(client.documents.read({ params: { uuid } }))
        assert.strictEqual(error._tag, "NotFound")
      })
    )

    test.effect("is unhealthy while a breaker is open, and lets nothing through to its database", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* (yield* HttpClient.get("/health")).json, { open: [], deadLetters: 0 })
        const breakers = yield* CircuitBreakers
        yield* breakers.isolate("neo4j")
        const refused = yield* post(freshUrl(), document)
        const health = yield* HttpClient.get("/health")
        yield* breakers.reset("neo4j")
        assert.deepStrictEqual([refused.status, refused.headers["retry-after"]], [503, "60"])
        assert.include(yield* refused.text, "urn:effect-saga:CircuitOpen")
        assert.strictEqual(health.status, 503)
        assert.include(yield* health.text, '"open":["neo4j"]')
        assert.strictEqual((yield* HttpClient.get("/health")).status, 200)
      })
    )
  })
})
