/**
 * The canonical form of a payload: RFC 8785 (JCS) over its schema-encoded JSON, so that neither the order of members
 * nor the process decides whether two requests are the same.
 */
import canonicalize from "canonicalize"
import { IdempotencyError, InvalidKey } from "./IdempotencyError.ts"

/** The form, or `InvalidKey` for what JSON cannot carry: NaN, infinities, lone surrogates, cycles, bigints. */
export const canonicalJson = (encoded: unknown): string | IdempotencyError => {
  try {
    const sorted = inOrder(encoded, 0)
    return (sorted === unusual ? canonicalize(encoded) : JSON.stringify(sorted)) ?? "null"
  } catch (cause) {
    const problem = `the payload has no canonical JSON form: ${cause instanceof Error ? cause.message : String(cause)}`
    return new IdempotencyError({ reason: new InvalidKey({ problem }) })
  }
}

const unusual = Symbol("unusual")
/** Deeper than this it may be a cycle. */
const DEEPEST = 64
/** Members that an object would list elsewhere than where they were put, or not as its own. */
const isMoved = (key: string) => key === "__proto__" || (key >= "0" && key < ":")

/**
 * The same value with its members in order: the engine then writes the canonical form by itself, in one go, since JCS
 * writes texts and numbers as it does. `unusual`: what is not plain JSON is left to the library.
 */
const inOrder = (value: unknown, depth: number): unknown => {
  switch (typeof value) {
    case "string":
      return value.isWellFormed() ? value : unusual
    case "number":
      return Number.isFinite(value) ? value : unusual
    case "boolean":
      return value
    case "object":
      return value === null ? null : depth > DEEPEST ? unusual : containerInOrder(value, depth + 1)
    default:
      return unusual
  }
}

const containerInOrder = (value: object, depth: number): unknown => {
  if ("toJSON" in value) return unusual
  if (Array.isArray(value)) return itemsInOrder(value, depth)
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null ? membersInOrder({ ...value }, depth) : unusual
}

const itemsInOrder = (items: ReadonlyArray<unknown>, depth: number): unknown => {
  let sorted: Array<unknown> | undefined
  for (let i = 0; i < items.length; i++) {
    const one = inOrder(items[i], depth)
    if (one === unusual) return unusual
    if (one === items[i]) continue
    sorted ??= [...items]
    sorted[i] = one
  }
  return sorted ?? items
}

const membersInOrder = (members: Readonly<Record<string, unknown>>, depth: number): unknown => {
  const sorted: Record<string, unknown> = {}
  // By UTF-16 units, as JCS asks.
  for (const key of Object.keys(members).sort()) {
    const member = members[key]
    if (member === undefined) continue
    const one = inOrder(member, depth)
    if (one === unusual || isMoved(key) || !key.isWellFormed()) return unusual
    sorted[key] = one
  }
  return sorted
}
