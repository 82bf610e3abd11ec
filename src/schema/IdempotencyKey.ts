/** The key that a caller gives to a request. */
import { sha256 } from "./Digest.ts"
import { IdempotencyError, InvalidKey } from "./IdempotencyError.ts"

const printable = /^[\x20-\x7e]{1,255}$/

/** What is wrong with a caller's key, if anything: it is 1 to 255 printable ASCII characters. */
export const invalidKey = (key: string): IdempotencyError | undefined =>
  printable.test(key)
    ? undefined
    : new IdempotencyError({
        reason: new InvalidKey({
          problem: `an idempotency key is 1 to 255 printable ASCII characters; this one is ${JSON.stringify(key.slice(0, 300))}`
        })
      })

const scoped = new WeakMap<object, string>()

/** A caller's key within its saga, hashed; worked out once for a request. */
export const scopedKey = (request: { readonly saga: string; readonly key: string }): string => {
  const known = scoped.get(request) ?? sha256(JSON.stringify([request.saga, request.key]))
  scoped.set(request, known)
  return known
}
