/** Each typed error as an HTTP status and a problem document (RFC 9457). */
import { Duration } from "effect"
import { HttpServerResponse } from "effect/http"
import type { Saga } from "../../src/index.ts"
import type { StoreError } from "../../src/ingest/index.ts"

type Failure = StoreError | Saga.SagaError

const statusOf = (error: Failure): number => {
  switch (error._tag) {
    case "InvalidPayload":
      return 400
    case "IdempotencyError":
      return { InvalidKey: 400, KeyReused: 422, ResultNotKept: 409, RecordUnreadable: 409, IdempotencyStoreError: 503 }[
        error.reason._tag
      ]
    case "LockError":
      return { LockTimeout: 409, LockLost: 503, ResourceUnsettled: 409, LockStoreError: 503, InvalidResource: 400 }[
        error.reason._tag
      ]
    case "StoreError":
      return error.transient ? 503 : 422
    case "CircuitBreakerError":
      return 503
    case "StepTimeout":
    case "SagaTimeout":
      return 504
    case "CompensationError":
    case "OutcomeUnknown":
      return 500
  }
}

/** Seconds after which the same request may succeed. */
const retryAfter = (error: Failure): Readonly<Record<string, string>> => {
  if (error._tag === "CircuitBreakerError" && error.reason._tag === "CircuitOpen") {
    return { "retry-after": String(Math.ceil(Duration.toSeconds(error.reason.retryAfter))) }
  }
  return error._tag === "LockError" && error.reason._tag === "LockTimeout" ? { "retry-after": "1" } : {}
}

export const problem = (error: Failure) => {
  const status = statusOf(error)
  const type = "reason" in error ? `${error._tag}.${error.reason._tag}` : error._tag
  const letters =
    error._tag === "CompensationError" ? { deadLetters: error.failures.map((one) => one.deadLetterId) } : {}
  return HttpServerResponse.jsonUnsafe(
    { type: `urn:effect-saga:${type}`, title: type, status, detail: error.message, ...letters },
    { status, headers: { "content-type": "application/problem+json", ...retryAfter(error) } }
  )
}
