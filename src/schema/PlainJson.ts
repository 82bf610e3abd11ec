/** Values that are plain JSON and nothing else: what most payloads are, and what needs no library. */

/** Deeper than this it may be a cycle. */
export const DEEPEST = 64

/** Has members of its own only; with `toJSON` it is something else. */
export const isPlain = (value: object): value is Readonly<Record<string, unknown>> => {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** A copy that shares nothing with it; undefined for any other value, such as one with an undefined member. */
export const plainCopy = (value: unknown): { readonly json: unknown } | undefined => {
  const json = copied(value, 0)
  return json === other ? undefined : { json }
}

const other = Symbol("other")

const copied = (value: unknown, depth: number): unknown => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "number":
      return Number.isFinite(value) ? value : other
    case "object":
      return value === null ? null : copiedContainer(value, depth)
    default:
      return other
  }
}

const copiedContainer = (value: object, depth: number): unknown => {
  if (depth > DEEPEST || "toJSON" in value) return other
  if (Array.isArray(value)) return copiedItems(value, depth + 1)
  return isPlain(value) ? copiedMembers(value, depth + 1) : other
}

const copiedItems = (items: ReadonlyArray<unknown>, depth: number): unknown => {
  const copy = [...items]
  for (let i = 0; i < copy.length; i++) {
    const item = copied(copy[i], depth)
    if (item === other) return other
    copy[i] = item
  }
  return copy
}

const copiedMembers = (members: Readonly<Record<string, unknown>>, depth: number): unknown => {
  const copy: Record<string, unknown> = {}
  for (const name of Object.keys(members)) {
    const member = copied(members[name], depth)
    // A member of that name would become the copy's prototype.
    if (member === other || name === "__proto__") return other
    copy[name] = member
  }
  return copy
}
