/** The handlers of the API, and what an operator asks for. */
import { Effect, Layer, Option } from "effect"
import { HttpEffect, HttpServerResponse } from "effect/http"
import { HttpApiBuilder, HttpApiMiddleware, HttpApiSchema } from "effect/http-api"
import { PrometheusMetrics } from "effect/observability"
import { CircuitBreakers, DeadLetterQueue, type Saga } from "../../src/index.ts"
import { Document, DocumentStore, ingestDocument, removeDocument, type StoreError } from "../../src/ingest/index.ts"
import { Api } from "./Api.ts"
import { ofSaga, ofStore } from "./Failures.ts"
import { NotFound, Unhealthy } from "./Problem.ts"

const keyOf = (headers: { readonly "idempotency-key"?: string }): Saga.ExecuteOptions =>
  headers["idempotency-key"] === undefined ? {} : { idempotencyKey: headers["idempotency-key"] }

const answer = <A>({ replayed, sagaId }: Saga.Receipt<unknown>, body: A) =>
  HttpApiSchema.withHeaders({
    body,
    headers: { "idempotent-replayed": replayed ? ("true" as const) : ("false" as const), "saga-id": sagaId }
  })

/** A problem that passes says when in the header too: clients and proxies look there. */
const answerProblem = Effect.fnUntraced(function* (error: StoreError | Saga.SagaError) {
  const problem = ofSaga(error)
  if ("retryAfter" in problem) {
    yield* HttpEffect.appendPreResponseHandler((_, response) =>
      Effect.succeed(HttpServerResponse.setHeader(response, "retry-after", String(problem.retryAfter)))
    )
  }
  return yield* problem
})

const documents = HttpApiBuilder.group(Api, "documents", (handlers) =>
  handlers.handleAll({
    write: Effect.fnUntraced(function* ({ headers, params, payload }) {
      const document = new Document({ ...payload, uuid: params.uuid })
      const receipt = yield* ingestDocument.executeReceipt(document, keyOf(headers))
      return receipt.replayed
        ? answer(receipt, { ...receipt.value, replayed: true as const })
        : answer(receipt, { ...receipt.value, replayed: false as const })
    }, Effect.catch(answerProblem)),
    read: Effect.fnUntraced(function* ({ params }) {
      const found = yield* Effect.mapError((yield* DocumentStore).find(params.uuid), ofStore)
      if (Option.isNone(found)) return yield* new NotFound({ detail: `there is no document ${params.uuid}` })
      return found.value
    }),
    remove: Effect.fnUntraced(function* ({ headers, params }) {
      return answer(yield* removeDocument.executeReceipt({ uuid: params.uuid }, keyOf(headers)), undefined)
    }, Effect.catch(answerProblem))
  })
)

const system = HttpApiBuilder.group(Api, "system", (handlers) =>
  handlers.handleAll({
    health: Effect.fnUntraced(function* () {
      const breakers = yield* (yield* CircuitBreakers).statistics
      const open = breakers.filter((one) => one.state._tag === "Open").map((one) => one.dependency)
      const deadLetters = yield* Effect.orElseSucceed((yield* DeadLetterQueue).size, () => null)
      return open.length === 0 ? { open, deadLetters } : yield* new Unhealthy({ open, deadLetters })
    })
  })
)

export const routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(
    Layer.provide([documents, system]),
    Layer.provide(HttpApiMiddleware.layerProblemDetails({ includeDetails: true }))
  ),
  PrometheusMetrics.layerHttp({ path: "/metrics" })
)
