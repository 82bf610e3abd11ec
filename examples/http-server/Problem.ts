/** The problem documents (RFC 9457) of the server: one class per thing that can go wrong, with its status. */
import { Schema } from "effect"
import { HttpApiError } from "effect/http-api"

const { Problem } = HttpApiError

/** What it is, in a form that programs compare. */
const type = <const Name extends string>(name: Name) => `urn:effect-saga:${name}` as const

/** Seconds after which the same request may succeed; also in the header Retry-After. */
const retryAfter = { retryAfter: Schema.Int }

export class NotFound extends Problem<NotFound>()("NotFound", {
  type: type("NotFound"),
  status: 404,
  title: "There is no such document"
}) {}

export class InvalidKey extends Problem<InvalidKey>()("InvalidKey", {
  type: type("InvalidKey"),
  status: 400,
  title: "The idempotency key is not 1 to 255 printable characters"
}) {}

export class InvalidPayload extends Problem<InvalidPayload>()("InvalidPayload", {
  type: type("InvalidPayload"),
  status: 400,
  title: "The saga does not take this payload"
}) {}

/** As draft-ietf-httpapi-idempotency-key-header asks for it. */
export class KeyReused extends Problem<KeyReused>()("KeyReused", {
  type: type("KeyReused"),
  status: 422,
  title: "The idempotency key was used before with another payload"
}) {}

export class ResultNotKept extends Problem<ResultNotKept>()("ResultNotKept", {
  type: type("ResultNotKept"),
  status: 409,
  title: "The request was served, but its result is not there any more"
}) {}

export class LockTimeout extends Problem<LockTimeout>()(
  "LockTimeout",
  { type: type("LockTimeout"), status: 409, title: "Another request is writing this document" },
  retryAfter
) {}

export class ResourceUnsettled extends Problem<ResourceUnsettled>()("ResourceUnsettled", {
  type: type("ResourceUnsettled"),
  status: 409,
  title: "An earlier write of this document is unfinished"
}) {}

export class Superseded extends Problem<Superseded>()("Superseded", {
  type: type("Superseded"),
  status: 409,
  title: "A later write of this document was there first"
}) {}

export class Rejected extends Problem<Rejected>()(
  "Rejected",
  { type: type("Rejected"), status: 422, title: "A store does not take this document" },
  { store: Schema.String }
) {}

/** Nothing was changed, or everything was undone: the same request may be sent again. */
export class Unavailable extends Problem<Unavailable>()("Unavailable", {
  type: type("Unavailable"),
  status: 503,
  title: "Something this needs does not answer"
}) {}

export class CircuitOpen extends Problem<CircuitOpen>()(
  "CircuitOpen",
  { type: type("CircuitOpen"), status: 503, title: "A database failed too often and is left alone for a while" },
  retryAfter
) {}

export class TimedOut extends Problem<TimedOut>()("TimedOut", {
  type: type("TimedOut"),
  status: 504,
  title: "It took too long and was undone"
}) {}

export class HalfUndone extends Problem<HalfUndone>()(
  "HalfUndone",
  { type: type("HalfUndone"), status: 500, title: "It failed and could not all be undone" },
  { sagaId: Schema.String, deadLetters: Schema.Array(Schema.String) }
) {}

export class OutcomeUnknown extends Problem<OutcomeUnknown>()(
  "OutcomeUnknown",
  { type: type("OutcomeUnknown"), status: 500, title: "Every step ran, but whether that was recorded is not known" },
  { sagaId: Schema.String }
) {}

/** Some breaker is open. */
export class Unhealthy extends Problem<Unhealthy>()(
  "Unhealthy",
  { type: type("Unhealthy"), status: 503, title: "Some databases are left alone" },
  { open: Schema.Array(Schema.String), deadLetters: Schema.NullOr(Schema.Int) }
) {}

/** What reading a document may answer. */
export const readProblems = [NotFound, Unavailable, Rejected, Superseded] as const

/** What a saga may answer. */
export const sagaProblems = [
  InvalidKey,
  InvalidPayload,
  KeyReused,
  ResultNotKept,
  LockTimeout,
  ResourceUnsettled,
  Superseded,
  Rejected,
  Unavailable,
  CircuitOpen,
  TimedOut,
  HalfUndone,
  OutcomeUnknown
] as const
