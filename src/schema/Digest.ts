/**
 * Hashes: fingerprints of payloads, ids derived from what they name, and the bucket that keeps all Redis keys of one
 * resource on one cluster node.
 */
import { hash } from "node:crypto"

/** SHA-256 of the UTF-8 text or of the bytes, in lower-case hex. */
export const sha256 = (of: string | Uint8Array): string => hash("sha256", of, "hex")

/** A UUID (version 8, RFC 9562) derived from its parts: the same parts give the same id in every process. */
export const derivedUuid = (...parts: ReadonlyArray<string>): string => {
  const hex = sha256(JSON.stringify(parts))
  const variant = ((Number.parseInt(hex.slice(16, 18), 16) & 0x3f) | 0x80).toString(16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(18, 20)}-${hex.slice(20, 32)}`
}

export const BUCKETS = 1024

/** The hash tag of a resource: FNV-1a over UTF-16 units, mod 1024. It only spreads; it need not be secret or strong. */
export const bucket = (resource: string): number => {
  let h = 0x811c9dc5
  for (let i = 0; i < resource.length; i++) {
    h = Math.imul(h ^ resource.charCodeAt(i), 0x01000193)
  }
  return (h >>> 0) % BUCKETS
}
