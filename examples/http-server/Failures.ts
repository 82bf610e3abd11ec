/** Each typed error of the sagas and stores, as its problem document. A new error does not compile until it has one. */
import { Duration } from "effect"
import type { IdempotencyError, LockError, Saga } from "../../src/index.ts"
import type { StoreError } from "../../src/ingest/index.ts"
import * as Problem from "./Problem.ts"

const seconds = (duration: Duration.Duration) => Math.max(1, Math.ceil(Duration.toSeconds(duration)))

export const ofStore = (error: StoreError) => {
  const detail = error.message
  switch (error.reason._tag) {
    case "FloorRefused":
      return new Problem.Superseded({ detail })
    case "Rejected":
      return new Problem.Rejected({ detail, store: error.store })
    case "Unavailable":
      return new Problem.Unavailable({ detail })
  }
}

const ofLock = (error: LockError) => {
  const detail = error.message
  switch (error.reason._tag) {
    case "LockTimeout":
      return new Problem.LockTimeout({ detail, retryAfter: 1 })
    case "ResourceUnsettled":
      return new Problem.ResourceUnsettled({ detail })
    case "InvalidResource":
      return new Problem.InvalidPayload({ detail })
    case "LockLost":
    case "LockStoreError":
      return new Problem.Unavailable({ detail })
  }
}

const ofKey = (error: IdempotencyError) => {
  const detail = error.message
  switch (error.reason._tag) {
    case "InvalidKey":
      return new Problem.InvalidKey({ detail })
    case "KeyReused":
      return new Problem.KeyReused({ detail })
    case "ResultNotKept":
    case "RecordUnreadable":
      return new Problem.ResultNotKept({ detail })
    case "IdempotencyStoreError":
      return new Problem.Unavailable({ detail })
  }
}

export const ofSaga = (error: StoreError | Saga.SagaError) => {
  const detail = error.message
  switch (error._tag) {
    case "StoreError":
      return ofStore(error)
    case "LockError":
      return ofLock(error)
    case "IdempotencyError":
      return ofKey(error)
    case "InvalidPayload":
      return new Problem.InvalidPayload({ detail })
    case "CircuitBreakerError":
      return error.reason._tag === "CircuitOpen"
        ? new Problem.CircuitOpen({ detail, retryAfter: seconds(error.reason.retryAfter) })
        : new Problem.Unavailable({ detail })
    case "JournalError":
      return new Problem.Unavailable({ detail })
    case "StepTimeout":
    case "SagaTimeout":
      return new Problem.TimedOut({ detail })
    case "CompensationError":
      return new Problem.HalfUndone({
        detail,
        sagaId: error.sagaId,
        deadLetters: error.failures.map((failure) => failure.deadLetterId)
      })
    case "OutcomeUnknown":
      return new Problem.OutcomeUnknown({ detail, sagaId: error.sagaId })
  }
}
