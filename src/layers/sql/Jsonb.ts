/**
 * What JSON has and PostgreSQL's `jsonb` and `text` have not: the character NUL and lone surrogates. A value with one of
 * them is stored as `{"~json": "its text"}` and comes back as it was.
 */

const WRAPPED = "~json"

/** As `JSON.stringify` writes them. A backslash that is text itself may look alike: then it is wrapped for nothing. */
const unstorable = /\\u(?:0000|d[89a-f][0-9a-f]{2})/

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** What cannot be written as JSON at all (a bigint, a cycle) is kept as text: it must not be lost for that. */
export const jsonText = (value: unknown): string => {
  try {
    return JSON.stringify(value) ?? "null"
  } catch {
    return JSON.stringify({ unencodable: String(value) })
  }
}

/** As a column can hold it. */
export const toJsonb = (value: unknown): unknown => {
  const text = jsonText(value)
  return unstorable.test(text) || (isRecord(value) && WRAPPED in value) ? { [WRAPPED]: text } : JSON.parse(text)
}

/** As it was; what the table added beside it stays beside it. */
export const fromJsonb = (stored: unknown): unknown => {
  if (!isRecord(stored)) return stored
  const { [WRAPPED]: text, ...beside } = stored
  if (typeof text !== "string") return stored
  const value: unknown = JSON.parse(text)
  return isRecord(value) ? { ...value, ...beside } : value
}

/** Names and messages: what cannot be stored is shown as the replacement character. */
export const toText = (text: string): string => text.replaceAll("\0", "\ufffd").replace(/\p{Surrogate}/gu, "\ufffd")
