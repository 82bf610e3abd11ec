/** JSON of texts that are mostly small, a name or an id: the engine takes a call out of compiled code for each. */

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
