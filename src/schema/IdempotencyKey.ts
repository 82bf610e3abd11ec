/** The key that a caller gives to a request. */
import { sha256 } from "./Digest.ts"
import { IdempotencyError, InvalidKey } from "./IdempotencyError.ts"
import { quoted } from "./Quoted.ts"

const LONGEST_KEY = 255
/** By code unit: one is looked at in each request, and a regular expression costs several times as much. */
const isPrintable = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x20 || unit > 0x7e) return false
  }
  return true
}

/** What is wrong with a caller's key, if anything: it is 1 to 255 printable ASCII characters. */
export const invalidKey = (key: string): IdempotencyError | undefined =>
  key.length > 0 && key.length <= LONGEST_KEY && isPrintable(key)
    ? undefined
    : new IdempotencyError({
        reason: new InvalidKey({
          problem: `an idempotency key is 1 to 255 printable ASCII characters; this one is ${JSON.stringify(key.slice(0, 300))}`
        })
      })

/** Of a name in a store, in UTF-16 units. */
const LONGEST = 512

/** A caller's key within its saga, as a name in a store: no two pairs have the same. */
export const scopedKey = (request: { readonly saga: string; readonly key: string }): string => {
  const name = `[${quoted(request.saga)},${quoted(request.key)}]`
  return name.length <= LONGEST ? name : sha256(name)
}
