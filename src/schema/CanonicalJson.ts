/**
 * The canonical form of a payload: RFC 8785 (JCS) over its schema-encoded JSON, so that neither the order of members
 * nor the process decides whether two requests are the same.
 */
import canonicalize from "canonicalize"
import { IdempotencyError, InvalidKey } from "./IdempotencyError.ts"

/**
 * What gives the form of the value as it is now, whatever becomes of it; or `InvalidKey` for what JSON cannot carry: NaN,
 * infinities, lone surrogates, cycles, bigints. Of plain JSON the text is written when it is asked for.
 */
export const canonicalForm = (encoded: unknown): (() => string) | IdempotencyError => {
  try {
    const looking = begin()
    const sorted = inOrder(encoded, looking)
    if (sorted !== unusual && looking.room >= 0) return () => JSON.stringify(sorted)
    // What may be more than one text of the engine fails here, and not when it is asked for.
    const form = sorted === unusual ? (canonicalize(encoded) ?? "null") : JSON.stringify(sorted)
    return () => form
  } catch (cause) {
    const problem = `the payload has no canonical JSON form: ${cause instanceof Error ? cause.message : String(cause)}`
    return new IdempotencyError({ reason: new InvalidKey({ problem }) })
  }
}

/**
 * A copy of what is plain JSON and nothing else, with its members in order, so that its text is its canonical form;
 * undefined for any other value, such as one with an undefined member.
 */
export const plainCopy = (value: unknown): { readonly json: unknown } | undefined => {
  const looking = begin()
  const json = inOrder(value, looking)
  return json !== unusual && looking.room >= 0 && looking.isWhole ? { json } : undefined
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
  /** Nothing was left out. */
  isWhole: boolean
}
const begin = (): Looking => ({ depth: 0, room: ROOM, isWhole: true })
/** Members that an object would list elsewhere than where they were put, or not as its own. */
const isMoved = (key: string) => key === "__proto__" || (key >= "0" && key < ":")

/**
 * A copy with its members in order: the engine then writes the canonical form by itself, in one go, since JCS writes texts
 * and numbers as it does. `unusual`: what is not plain JSON is left to the library.
 */
const inOrder = (value: unknown, looking: Looking): unknown => {
  switch (typeof value) {
    case "string":
      looking.room -= value.length + 1
      return value.isWellFormed() ? value : unusual
    case "number":
      looking.room -= DIGITS
      return Number.isFinite(value) ? value : unusual
    case "boolean":
      looking.room--
      return value
    case "object":
      looking.room--
      return value === null ? null : containerInOrder(value, looking)
    default:
      return unusual
  }
}

const containerInOrder = (value: object, looking: Looking): unknown => {
  if (looking.depth > DEEPEST || "toJSON" in value) return unusual
  looking.depth++
  const sorted = Array.isArray(value)
    ? itemsInOrder(value, looking)
    : isPlain(value)
      ? membersInOrder(value, looking)
      : unusual
  looking.depth--
  return sorted
}

const itemsInOrder = (items: ReadonlyArray<unknown>, looking: Looking): unknown => {
  const sorted = [...items]
  for (let i = 0; i < sorted.length; i++) {
    const one = inOrder(sorted[i], looking)
    if (one === unusual) return unusual
    sorted[i] = one
  }
  return sorted
}

export const isPlain = (value: object): value is Readonly<Record<string, unknown>> => {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** So few are sorted at a fifth of what the engine's own sort costs. */
const FEW = 8

/** By UTF-16 units, as JCS asks. */
export const inKeyOrder = (keys: Array<string>): ReadonlyArray<string> => {
  if (keys.length > FEW) return keys.sort()
  for (let i = 1; i < keys.length; i++) {
    const key = keys[i]
    let at = i
    for (; at > 0; at--) {
      const before = keys[at - 1]
      if (key === undefined || before === undefined || before < key) break
      keys[at] = before
    }
    if (key !== undefined) keys[at] = key
  }
  return keys
}

const membersInOrder = (members: Readonly<Record<string, unknown>>, looking: Looking): unknown => {
  const sorted: Record<string, unknown> = {}
  for (const key of inKeyOrder(Object.keys(members))) {
    const member = members[key]
    if (member === undefined) {
      looking.isWhole = false
      continue
    }
    looking.room -= key.length
    const one = inOrder(member, looking)
    if (one === unusual || isMoved(key) || !key.isWellFormed()) return unusual
    sorted[key] = one
  }
  return sorted
}
