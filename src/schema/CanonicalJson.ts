/**
 * The canonical form of a payload: RFC 8785 (JCS) over its schema-encoded JSON, so that neither the order of members
 * nor the process decides whether two requests are the same.
 */
import canonicalize from "canonicalize"
import { IdempotencyError, InvalidKey } from "./IdempotencyError.ts"

/** `InvalidKey` for what JSON cannot carry: NaN, infinities, lone surrogates, cycles, bigints, more than one text holds. */
export const canonicalJson = (encoded: unknown): string | IdempotencyError => {
  try {
    return canonicalize(encoded) ?? "null"
  } catch (cause) {
    return withoutForm(cause)
  }
}

/** Making it failed with this. */
export const withoutForm = (cause: unknown): IdempotencyError => {
  const problem = `the payload has no canonical JSON form: ${cause instanceof Error ? cause.message : String(cause)}`
  return new IdempotencyError({ reason: new InvalidKey({ problem }) })
}
