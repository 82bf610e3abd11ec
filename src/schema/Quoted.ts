/** JSON of what is mostly small, such as a name or an id: the engine takes a call out of compiled code for each. */

const QUOTE = 0x22
const BACKSLASH = 0x5c
/** Longer ones are the engine's. */
const SHORT = 64

/** `JSON.stringify` of a text. */
export const quoted = (text: string): string => {
  if (text.length > SHORT) return JSON.stringify(text)
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x20 || unit > 0x7e || unit === QUOTE || unit === BACKSLASH) return JSON.stringify(text)
  }
  return `"${text}"`
}

/** `JSON.stringify` of a list of texts. */
export const quotedAll = (texts: ReadonlyArray<string>): string => {
  let list = ""
  for (const text of texts) list += list === "" ? quoted(text) : `,${quoted(text)}`
  return `[${list}]`
}

/** `JSON.stringify`, and `null` for what there is no JSON of. */
export const jsonText = (value: unknown): string => flatText(value) ?? JSON.stringify(value) ?? "null"

/** Of a text, a number or the like, or of a plain object of nothing else. */
const flatText = (value: unknown): string | undefined => {
  if (typeof value !== "object" || value === null) return plainText(value)
  if (Object.getPrototypeOf(value) !== Object.prototype || "toJSON" in value) return undefined
  let members = ""
  for (const [name, member] of Object.entries(value)) {
    const text = plainText(member)
    if (text === undefined) return undefined
    members += members === "" ? `${quoted(name)}:${text}` : `,${quoted(name)}:${text}`
  }
  return `{${members}}`
}

const plainText = (value: unknown): string | undefined => {
  switch (typeof value) {
    case "string":
      return quoted(value)
    case "number":
      return Number.isFinite(value) ? String(value) : "null"
    case "boolean":
      return value ? "true" : "false"
    default:
      return value === null ? "null" : undefined
  }
}
