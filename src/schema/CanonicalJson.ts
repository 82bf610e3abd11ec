/**
 * The canonical form of a payload: RFC 8785 (JCS) over its schema-encoded JSON, so that neither the order of members
 * nor the process decides whether two requests are the same.
 */
import canonicalize from "canonicalize"
import { Effect } from "effect"
import { IdempotencyError, InvalidKey } from "./IdempotencyError.ts"

/** Fails with `InvalidKey` for what JSON cannot carry: NaN, infinities, lone surrogates, cycles, bigints. */
export const canonicalJson = (encoded: unknown): Effect.Effect<string, IdempotencyError> =>
  Effect.try({
    try: () => canonicalize(encoded) ?? "null",
    catch: (cause) =>
      new IdempotencyError({
        reason: new InvalidKey({
          problem: `the payload has no canonical JSON form: ${cause instanceof Error ? cause.message : String(cause)}`
        })
      })
  })
