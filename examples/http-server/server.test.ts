import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { HttpBody, HttpClient, HttpRouter } from "effect/http"
import { SagaMemory } from "../../src/index.ts"
import { MemoryStores } from "../../src/ingest/index.ts"
import { routes } from "./Routes.ts"

const server = HttpRouter.serve(routes, { disableLogger: true }).pipe(
  Layer.provide([SagaMemory.layer, MemoryStores.layer]),
  Layer.provideMerge(NodeHttpServer.layerTest)
)
const url = "/documents/6f2c1c8e-3f0a-4c55-9c1b-0d8f6a1b2c3d"
const document = { title: "t", body: "b", embedding: [0.5], links: [], metadata: {} }
const post = (body: unknown, headers: Readonly<Record<string, string>> = {}, path = url) =>
  HttpClient.post(path, { body: HttpBody.jsonUnsafe(body), headers })

describe("the example HTTP server", () => {
  it.layer(server, { excludeTestServices: true })((test) => {
    test.effect("ingests, replays, reads and removes a document", () =>
      Effect.gen(function* () {
        const first = yield* post(document)
        const again = yield* post(document)
        assert.deepStrictEqual([first.status, again.status], [201, 200])
        assert.deepStrictEqual(
          [first.headers["idempotent-replayed"], again.headers["idempotent-replayed"]],
          ["false", "true"]
        )
        assert.strictEqual((yield* HttpClient.get(url)).status, 200)
        assert.strictEqual((yield* HttpClient.del(url)).status, 204)
        assert.strictEqual((yield* HttpClient.get(url)).status, 404)
      })
    )

    test.effect("answers a bad document and a reused key with a problem document", () =>
      Effect.gen(function* () {
        const bad = yield* post({ ...document, embedding: [] })
        assert.deepStrictEqual([bad.status, bad.headers["content-type"]], [400, "application/problem+json"])
        assert.strictEqual((yield* post(document, {}, "/documents/no-uuid")).status, 400)
        const headers = { "idempotency-key": "k" }
        yield* post(document, headers)
        const reused = yield* post({ ...document, title: "another" }, headers)
        assert.strictEqual(reused.status, 422)
        assert.include(yield* reused.text, "urn:effect-saga:IdempotencyError.KeyReused")
      })
    )

    test.effect("shows its metrics by their fixed names, and its health", () =>
      Effect.gen(function* () {
        yield* post(document)
        const metrics = yield* Effect.flatMap(HttpClient.get("/metrics"), (response) => response.text)
        for (const name of [
          "lock_acquisition_duration_seconds_bucket",
          "idempotent_cache_hits_total",
          'circuit_breaker_state{database="postgres"} 0'
        ]) {
          assert.include(metrics, name)
        }
        assert.strictEqual((yield* HttpClient.get("/health")).status, 200)
      })
    )
  })
})
