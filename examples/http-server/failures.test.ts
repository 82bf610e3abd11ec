/** Each typed error over the wire: its status, its type, and what it says beside. */
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Option, Schema } from "effect"
import { HttpBody, HttpClient, HttpRouter } from "effect/http"
import { CircuitBreaker } from "effect/persistence"
import {
  IdempotencyError,
  IdempotencyStoreError,
  InvalidPayload,
  InvalidResource,
  JournalError,
  KeyReused,
  LockError,
  LockLost,
  LockStoreError,
  LockTimeout,
  OutcomeUnknown,
  RecordUnreadable,
  ResourceUnsettled,
  ResultNotKept,
  SagaGuard,
  SagaMemory,
  SagaSettings,
  SagaTimeout
} from "../../src/index.ts"
import { DocumentStore, MemoryStores, Rejected, refused, StoreError, Unavailable } from "../../src/ingest/index.ts"
import { ofSaga } from "./Failures.ts"
import { routes } from "./Routes.ts"

const failing = (reason: StoreError["reason"], applied: StoreError["applied"]) =>
  new StoreError({ store: "postgres", operation: "upsert", transient: false, applied, reason })

/** By the title of the document that is written. */
const storeErrors: Readonly<Record<string, StoreError>> = {
  unavailable: failing(new Unavailable({ cause: "gone" }), "no"),
  rejected: failing(new Rejected({ problem: "too long" }), "no"),
  superseded: refused("postgres", "upsert", "x", 7, 6),
  unknown: failing(new Unavailable({ cause: "gone" }), "unknown")
}

const store = Layer.succeed(DocumentStore, {
  find: () => Effect.fail(failing(new Unavailable({ cause: "gone" }), "no")),
  image: () => Effect.succeed({ document: Option.none(), stamp: Option.none() }),
  upsert: ({ title }) => {
    const error = storeErrors[title]
    return error === undefined ? Effect.never : Effect.fail(error)
  },
  remove: () => Effect.void,
  restore: () => Effect.fail(failing(new Unavailable({ cause: "gone" }), "unknown"))
})

const lock = (reason: LockError["reason"]) => new LockError({ reason })
const key = (reason: IdempotencyError["reason"]) => new IdempotencyError({ reason })

/** By the caller's key. */
const guardErrors: Readonly<Record<string, LockError | IdempotencyError>> = {
  LockTimeout: lock(new LockTimeout({ resource: "x", waited: Duration.seconds(5) })),
  LockLost: lock(new LockLost({ resource: "x", fence: 1 })),
  LockStoreError: lock(new LockStoreError({ cause: "gone" })),
  InvalidResource: lock(new InvalidResource({ problem: "empty" })),
  ResourceUnsettled: lock(new ResourceUnsettled({ resource: "x", sagaIds: ["s"] })),
  KeyReused: key(new KeyReused({ key: "k" })),
  ResultNotKept: key(new ResultNotKept({ key: "k", sagaId: "s" })),
  RecordUnreadable: key(new RecordUnreadable({ key: "k", problem: "old" })),
  IdempotencyStoreError: key(new IdempotencyStoreError({ cause: "gone" }))
}

const guard = Layer.effect(
  SagaGuard,
  Effect.map(SagaGuard, (inner) => ({
    ...inner,
    enter: (request) => {
      const error = guardErrors[request.key]
      return error === undefined ? inner.enter(request) : Effect.fail(error)
    }
  }))
)
const settings = Layer.effect(
  SagaSettings,
  Effect.map(SagaSettings, (defaults) => ({ ...defaults, retries: false, stepTimeout: Duration.millis(20) }))
)

const server = HttpRouter.serve(routes, { disableLogger: true }).pipe(
  Layer.provide([store, guard, settings]),
  Layer.provide([SagaMemory.layerWith({ breakers: false }), MemoryStores.layer]),
  Layer.provideMerge(NodeHttpServer.layerTest)
)

let documents = 0
const freshUrl = () => `/documents/6f2c1c8e-3f0a-4c55-9c1b-${String(++documents).padStart(12, "0")}`
const post = (title: string, headers: Readonly<Record<string, string>> = {}) =>
  HttpClient.post(freshUrl(), {
    body: HttpBody.jsonUnsafe({ title, body: "b", embedding: [0.5], links: [], metadata: {} }),
    headers
  })

const ProblemDocument = Schema.Struct({
  type: Schema.String,
  status: Schema.Int,
  title: Schema.NonEmptyString,
  detail: Schema.NonEmptyString,
  retryAfter: Schema.optionalKey(Schema.Int),
  deadLetters: Schema.optionalKey(Schema.NonEmptyArray(Schema.String))
})

describe("a failed request of the example HTTP server", () => {
  it.layer(server, { excludeTestServices: true })((test) => {
    const answers = (what: string, type: string, status: number, request: () => ReturnType<typeof post>) =>
      test.effect(`is answered ${status} ${type}: ${what}`, () =>
        Effect.gen(function* () {
          const answer = yield* request()
          assert.deepStrictEqual([answer.status, answer.headers["content-type"]], [status, "application/problem+json"])
          const problem = Schema.decodeUnknownSync(ProblemDocument)(yield* answer.json)
          assert.deepStrictEqual([problem.type, problem.status], [`urn:effect-saga:${type}`, status])
          assert.strictEqual(answer.headers["retry-after"], problem.retryAfter?.toString())
          assert.strictEqual(problem.deadLetters !== undefined, type === "HalfUndone")
        })
      )

    for (const [reason, type, status] of [
      ["LockTimeout", "LockTimeout", 409],
      ["LockLost", "Unavailable", 503],
      ["LockStoreError", "Unavailable", 503],
      ["InvalidResource", "InvalidPayload", 400],
      ["ResourceUnsettled", "ResourceUnsettled", 409],
      ["KeyReused", "KeyReused", 422],
      ["ResultNotKept", "ResultNotKept", 409],
      ["RecordUnreadable", "ResultNotKept", 409],
      ["IdempotencyStoreError", "Unavailable", 503]
    ] as const) {
      answers(reason, type, status, () => post("any", { "idempotency-key": reason }))
    }

    answers("a store that is down", "Unavailable", 503, () => post("unavailable"))
    answers("a store that does not take it", "Rejected", 422, () => post("rejected"))
    answers("a later write", "Superseded", 409, () => post("superseded"))
    answers("a store that never answers, and cannot be undone", "HalfUndone", 500, () => post("never answers"))
    answers("a store that may have it, and cannot be undone", "HalfUndone", 500, () => post("unknown"))
    answers("a store that cannot be read", "Unavailable", 503, () => HttpClient.get(freshUrl()))
  })

  it("has a status for what the sagas' own services fail with", () => {
    const breaker = (reason: CircuitBreaker.CircuitBreakerErrorReason) =>
      new CircuitBreaker.CircuitBreakerError({ reason })
    const retryAfter = Duration.millis(1500)
    const after = Duration.seconds(1)
    for (const [error, type, status] of [
      [new InvalidPayload({ saga: "S", problem: "p" }), "InvalidPayload", 400],
      [new SagaTimeout({ saga: "S", after }), "TimedOut", 504],
      [new OutcomeUnknown({ sagaId: "s" }), "OutcomeUnknown", 500],
      [new JournalError({ operation: "open", cause: "gone" }), "Unavailable", 503],
      [breaker(new CircuitBreaker.CircuitOpen({ key: "redis", retryAfter })), "CircuitOpen", 503],
      [breaker(new CircuitBreaker.CircuitHalfOpen({ key: "redis" })), "Unavailable", 503]
    ] as const) {
      const problem = ofSaga(error)
      assert.deepStrictEqual([problem.type, problem.status], [`urn:effect-saga:${type}`, status])
      if ("retryAfter" in problem) assert.strictEqual(problem.retryAfter, 2)
    }
  })
})
