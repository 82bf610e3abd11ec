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
  const json = copied(value, { values: 0, depth: 0 })
  return json === other ? undefined : { json }
}

const other = Symbol("other")
/** Of one copy: what holds one thing many times over may be more than there is room for. */
const MOST = 2 ** 20

interface Copying {
  values: number
  depth: number
}

const copied = (value: unknown, copying: Copying): unknown => {
  if (++copying.values > MOST) return other
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "number":
      return Number.isFinite(value) ? value : other
    case "object":
      return value === null ? null : copiedContainer(value, copying)
    default:
      return other
  }
}

const copiedContainer = (value: object, copying: Copying): unknown => {
  if (copying.depth > DEEPEST || "toJSON" in value) return other
  copying.depth++
  const copy = Array.isArray(value)
    ? copiedItems(value, copying)
    : isPlain(value)
      ? copiedMembers(value, copying)
      : other
  copying.depth--
  return copy
}

const copiedItems = (items: ReadonlyArray<unknown>, copying: Copying): unknown => {
  const copy: Array<unknown> = []
  for (let i = 0; i < items.length; i++) {
    const item = copied(items[i], copying)
    if (item === other) return other
    copy.push(item)
  }
  return copy
}

const copiedMembers = (members: Readonly<Record<string, unknown>>, copying: Copying): unknown => {
  const copy: Record<string, unknown> = {}
  for (const name of Object.keys(members)) {
    const member = copied(members[name], copying)
    // A member of that name would become the copy's prototype.
    if (member === other || name === "__proto__") return other
    copy[name] = member
  }
  return copy
}
