/**
 * The fingerprint of a payload: two have the same exactly if they have the same canonical JSON. The text of that is not
 * written for it, which with its numbers costs more than all the rest.
 */
import { canonicalJson, withoutForm } from "./CanonicalJson.ts"
import { sha256 } from "./Digest.ts"
import { IdempotencyError, InvalidKey } from "./IdempotencyError.ts"
import { DEEPEST, isPlain } from "./PlainJson.ts"

/** In lower-case hex; or `InvalidKey` for what JSON cannot carry, and for more than 64 MiB. */
export const fingerprintOf = (encoded: unknown): string | IdempotencyError => {
  try {
    const plain = written(encoded)
    if (plain !== undefined) return plain
  } catch (cause) {
    // What else may be wrong with it the library says.
    if (cause instanceof TooLarge) return tooLarge()
  }
  const text = canonicalJson(encoded)
  if (typeof text !== "string") return text
  try {
    return written(JSON.parse(text)) ?? sha256(text)
  } catch (cause) {
    return cause instanceof TooLarge ? tooLarge() : withoutForm(cause)
  }
}

class TooLarge extends Error {}
const tooLarge = () => {
  const problem = "the payload is larger than 64 MiB: store it elsewhere, and give the saga where it is"
  return new IdempotencyError({ reason: new InvalidKey({ problem }) })
}

let idle: Writer | undefined

/** Undefined for what is not plain JSON. */
const written = (value: unknown): string | undefined => {
  const writer = idle ?? new Writer()
  // A getter may want another one meanwhile.
  idle = undefined
  try {
    return writer.digest(value)
  } finally {
    idle = writer
  }
}

const NULL = 0
const FALSE = 1
const TRUE = 2
const NUMBER = 3
const TEXT = 4
const LIST = 5
const MEMBERS = 6
const END = 7

/** In bytes: what is kept for the next payload. */
const KEPT = 2 ** 16
/** In bytes, of one payload: no byte stands for more than six characters of JSON, of which so many make one text still. */
const MOST = 2 ** 26
/** A longer text is written by the engine, for which it takes a call out of compiled code. */
const SHORT = 64

/**
 * Writes values as bytes: what it is, then what it holds; texts with their length before them, lists and members with an
 * end behind them. So no two values are the same bytes, but for the order of members. Stores keep their digest: what is written
 * here stays as it is.
 */
class Writer {
  private bytes = Buffer.allocUnsafeSlow(KEPT)
  private view = new DataView(this.bytes.buffer)
  private at = 0

  digest(value: unknown): string | undefined {
    try {
      return this.write(value, 0) ? sha256(this.bytes.subarray(0, this.at)) : undefined
    } finally {
      this.at = 0
      if (this.bytes.length > KEPT) this.resize(KEPT)
    }
  }

  private resize(length: number): void {
    const { bytes } = this
    this.bytes = Buffer.allocUnsafeSlow(length)
    this.view = new DataView(this.bytes.buffer)
    bytes.copy(this.bytes, 0, 0, Math.min(this.at, length))
  }
  private reserve(length: number): void {
    if (this.at + length > this.bytes.length) this.resize(Math.max(this.at + length, 2 * this.bytes.length))
  }

  private write(value: unknown, depth: number): boolean {
    if (this.at > MOST) throw new TooLarge()
    switch (typeof value) {
      case "string":
        return this.text(value)
      case "number":
        return Number.isFinite(value) && this.number(value)
      case "boolean":
        return this.tag(value ? TRUE : FALSE)
      case "object":
        return value === null ? this.tag(NULL) : this.container(value, depth)
      default:
        return false
    }
  }

  private tag(tag: number): true {
    this.reserve(1)
    this.bytes[this.at++] = tag
    return true
  }
  private number(value: number): true {
    this.reserve(9)
    this.bytes[this.at] = NUMBER
    // JSON has one zero.
    this.view.setFloat64(this.at + 1, value === 0 ? 0 : value)
    this.at += 9
    return true
  }
  private text(text: string): boolean {
    if (this.at + text.length > MOST) throw new TooLarge()
    this.reserve(5 + 3 * text.length)
    const { at, bytes } = this
    let length = text.length > SHORT ? -1 : asciiInto(bytes, at + 5, text)
    if (length < 0) {
      if (!text.isWellFormed()) return false
      length = bytes.write(text, at + 5)
    }
    bytes[at] = TEXT
    this.view.setUint32(at + 1, length)
    this.at = at + 5 + length
    return true
  }
  private container(value: object, depth: number): boolean {
    if (depth > DEEPEST || "toJSON" in value) return false
    if (Array.isArray(value)) {
      this.tag(LIST)
      // By its indexes, as JSON has it, whatever its iterator gives.
      for (let i = 0; i < value.length; i++) if (!this.write(value[i], depth + 1)) return false
      return this.tag(END)
    }
    if (!isPlain(value)) return false
    this.tag(MEMBERS)
    for (const name of inKeyOrder(Object.keys(value))) {
      const member = value[name]
      if (member !== undefined && !(this.text(name) && this.write(member, depth + 1))) return false
    }
    return this.tag(END)
  }
}

/** So few are sorted at a fifth of what the engine's own sort costs. */
const FEW = 8

/** By UTF-16 units, as JCS asks. */
const inKeyOrder = (keys: Array<string>): ReadonlyArray<string> => {
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

/** How many were written; -1 if it is not ASCII. */
const asciiInto = (bytes: Buffer, at: number, text: string): number => {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit > 0x7f) return -1
    bytes[at + i] = unit
  }
  return text.length
}
