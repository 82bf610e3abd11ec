/**
 * The canonical form of a payload: RFC 8785 (JCS) over its schema-encoded JSON, so that neither the order of members
 * nor the process decides whether two requests are the same.
 */
import canonicalize from "canonicalize"
import { IdempotencyError, InvalidKey } from "./IdempotencyError.ts"

/**
 * What gives the form; or `InvalidKey` for what JSON cannot carry: NaN, infinities, lone surrogates, cycles, bigints. Plain
 * JSON is only looked through at first: asked for later, the form is of what the value is by then.
 */
export const canonicalForm = (encoded: unknown): (() => string) | IdempotencyError => {
  try {
    const sorted = inOrder(encoded, { depth: 0, room: ROOM })
    if (sorted !== unusual) return () => JSON.stringify(sorted)
    const form = canonicalize(encoded) ?? "null"
    return () => form
  } catch (cause) {
    const problem = `the payload has no canonical JSON form: ${cause instanceof Error ? cause.message : String(cause)}`
    return new IdempotencyError({ reason: new InvalidKey({ problem }) })
  }
}

const unusual = Symbol("unusual")
/** Deeper than this it may be a cycle. */
const DEEPEST = 64
/** Characters that, each escaped to six, still make one text of the engine. */
const ROOM = 2 ** 26
/** Of a number, at most. */
const DIGITS = 32

interface Looking {
  depth: number
  room: number
}
/** Members that an object would list elsewhere than where they were put, or not as its own. */
const isMoved = (key: string) => key === "__proto__" || (key >= "0" && key < ":")

/**
 * The same value with its members in order: the engine then writes the canonical form by itself, in one go, since JCS
 * writes texts and numbers as it does. `unusual`: what is not plain JSON, or is very large, is left to the library.
 */
const inOrder = (value: unknown, looking: Looking): unknown => {
  switch (typeof value) {
    case "string":
      return hasRoom(looking, value.length + 1) && value.isWellFormed() ? value : unusual
    case "number":
      return hasRoom(looking, DIGITS) && Number.isFinite(value) ? value : unusual
    case "boolean":
      return hasRoom(looking, 1) ? value : unusual
    case "object":
      if (!hasRoom(looking, 1)) return unusual
      return value === null ? null : containerInOrder(value, looking)
    default:
      return unusual
  }
}

const hasRoom = (looking: Looking, characters: number) => {
  looking.room -= characters
  return looking.room >= 0
}

const containerInOrder = (value: object, looking: Looking): unknown => {
  if (looking.depth > DEEPEST || "toJSON" in value) return unusual
  looking.depth++
  const sorted = Array.isArray(value) ? itemsInOrder(value, looking) : membersOf(value, looking)
  looking.depth--
  return sorted
}

const itemsInOrder = (items: ReadonlyArray<unknown>, looking: Looking): unknown => {
  let sorted: Array<unknown> | undefined
  for (let i = 0; i < items.length; i++) {
    const one = inOrder(items[i], looking)
    if (one === unusual) return unusual
    if (one === items[i]) continue
    sorted ??= [...items]
    sorted[i] = one
  }
  return sorted ?? items
}

const membersOf = (value: object, looking: Looking): unknown => {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null ? membersInOrder({ ...value }, looking) : unusual
}

const membersInOrder = (members: Readonly<Record<string, unknown>>, looking: Looking): unknown => {
  const sorted: Record<string, unknown> = {}
  // By UTF-16 units, as JCS asks.
  for (const key of Object.keys(members).sort()) {
    const member = members[key]
    if (member === undefined) continue
    const one = inOrder(member, looking)
    if (one === unusual || isMoved(key) || !hasRoom(looking, key.length) || !key.isWellFormed()) return unusual
    sorted[key] = one
  }
  return sorted
}
