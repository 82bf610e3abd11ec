/** The routes: documents in, out and away, and what an operator asks for. */
import { Effect, Layer, Option, Schema } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { CircuitBreakers, DeadLetterQueue } from "../../src/index.ts"
import { Document, DocumentStore, ingestDocument, removeDocument } from "../../src/ingest/index.ts"
import { problem } from "./Problem.ts"

const json = Schema.toCodecJson(Document)

const uuid = Effect.map(HttpRouter.params, (params) => params.uuid ?? "")
const key = Effect.map(HttpServerRequest.HttpServerRequest, (request) => {
  const idempotencyKey = request.headers["idempotency-key"]
  return idempotencyKey === undefined ? {} : { idempotencyKey }
})

const invalid = (detail: string) =>
  HttpServerResponse.jsonUnsafe(
    { type: "urn:effect-saga:InvalidDocument", title: "InvalidDocument", status: 400, detail },
    { status: 400, headers: { "content-type": "application/problem+json" } }
  )

const post = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  const id = yield* uuid
  const body = yield* Effect.result(
    Effect.flatMap(request.json, (sent) =>
      Schema.decodeUnknownEffect(json)(typeof sent === "object" && sent !== null ? { ...sent, uuid: id } : sent)
    )
  )
  if (body._tag === "Failure") return invalid(body.failure.message)
  const receipt = yield* ingestDocument.executeReceipt(body.success, yield* key)
  return HttpServerResponse.jsonUnsafe(receipt.value, {
    status: receipt.replayed ? 200 : 201,
    headers: { "idempotent-replayed": String(receipt.replayed), "saga-id": receipt.sagaId }
  })
}).pipe(Effect.catch((error) => Effect.succeed(problem(error))))

const remove = Effect.gen(function* () {
  yield* removeDocument.execute({ uuid: yield* uuid }, yield* key)
  return HttpServerResponse.empty({ status: 204 })
}).pipe(Effect.catch((error) => Effect.succeed(problem(error))))

const get = Effect.gen(function* () {
  const found = yield* (yield* DocumentStore).find(yield* uuid)
  return Option.match(found, {
    onNone: () => HttpServerResponse.empty({ status: 404 }),
    onSome: (document) => HttpServerResponse.jsonUnsafe(Schema.encodeSync(json)(document))
  })
}).pipe(Effect.catch((error) => Effect.succeed(problem(error))))

const health = Effect.gen(function* () {
  const breakers = yield* (yield* CircuitBreakers).statistics
  const open = breakers.filter((one) => one.state._tag === "Open").map((one) => one.dependency)
  const deadLetters = yield* Effect.orElseSucceed((yield* DeadLetterQueue).size, () => null)
  return HttpServerResponse.jsonUnsafe({ open, deadLetters }, { status: open.length === 0 ? 200 : 503 })
})

export const routes = Layer.mergeAll(
  HttpRouter.add("POST", "/documents/:uuid", post),
  HttpRouter.add("DELETE", "/documents/:uuid", remove),
  HttpRouter.add("GET", "/documents/:uuid", get),
  HttpRouter.add("GET", "/health", health),
  PrometheusMetrics.layerHttp({ path: "/metrics" })
)
