/** Requests, leases and endings of the contracts of idempotency. */
import { Duration, Effect } from "effect"
import { type Ending, Idempotency, type IdempotencyRequest, type Lease } from "effect-saga"

let names = 0
/** Never given twice, so that one server serves all tests. */
export const fresh = (what: string) => `${what}-${process.pid}-${Date.now()}-${++names}`

let drawn = Date.now() * 1000
/** Higher than all before. */
export const fence = () => ++drawn

export const derived = (changes: Partial<IdempotencyRequest> = {}): IdempotencyRequest => ({
  saga: "Write",
  sagaId: fresh("saga"),
  key: fresh("key"),
  derived: true,
  fingerprint: "print",
  resources: [fresh("resource")],
  ...changes
})
export const callers = (changes: Partial<IdempotencyRequest> = {}) => derived({ derived: false, ...changes })
/** The same request, asked once more: by a saga of its own. */
export const again = (request: IdempotencyRequest): IdempotencyRequest => ({ ...request, sagaId: fresh("saga") })

export const leaseOf = (request: IdempotencyRequest, at = fence(), exclusive = true): Lease => ({
  resources: request.resources,
  token: fresh("token"),
  fence: at,
  exclusive,
  remaining: Effect.succeed(Duration.seconds(30)),
  lost: Effect.never,
  advance: () => Effect.sync(fence)
})

export const result = (text: string): Ending => ({ _tag: "Result", text: JSON.stringify({ ok: text }) })
export const textOf = (text: string) => JSON.stringify({ ok: text })
export const nothing: Ending = { _tag: "Nothing" }
export const served: Ending = { _tag: "Served" }

/** Begun and ended at once: "Admitted" or the recorded result. */
export const serve = Effect.fnUntraced(function* (request: IdempotencyRequest, ending: Ending) {
  const idempotency = yield* Idempotency
  const lease = leaseOf(request)
  const begun = yield* idempotency.begin(request, lease)
  if (begun._tag === "Replayed") return begun.result
  yield* idempotency.end(request, lease, ending)
  return begun._tag
})

/** Why it failed; "Success" if it did not. */
export const reasonOf = <A, R>(effect: Effect.Effect<A, { readonly reason: { readonly _tag: string } }, R>) =>
  Effect.match(effect, { onSuccess: () => "Success", onFailure: (error) => error.reason._tag })
