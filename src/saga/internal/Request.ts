/** What identifies one request: its key, its fingerprint, its resources; and the text of its recorded result. */
import { type Duration, Exit } from "effect"
import { sha256 } from "../../schema/Digest.ts"
import { fingerprintOf } from "../../schema/Fingerprint.ts"
import type { IdempotencyError } from "../../schema/IdempotencyError.ts"
import { invalidKey } from "../../schema/IdempotencyKey.ts"
import { plainCopy } from "../../schema/PlainJson.ts"
import { quoted } from "../../schema/Quoted.ts"
import { InvalidPayload } from "../../schema/SagaError.ts"
import type { IdempotencyRequest } from "../../services/Idempotency.ts"
import { whole } from "../../services/Ids.ts"
import type { SagaJournal } from "../../services/SagaJournal.ts"
import { decoderOf, encoderOf, isVerbatim, type JsonCodec, problemOf } from "./Codec.ts"
import type { Definition, Erased } from "./Definition.ts"

/** A saga with its types erased. */
export interface SagaDefinition {
  readonly name: string
  readonly version: number
  readonly payload: JsonCodec
  readonly success: JsonCodec
  readonly error: JsonCodec
  readonly resources: (payload: unknown) => ReadonlyArray<string>
  readonly steps: ReadonlyMap<string, Definition>
  readonly recordFailure: (error: unknown) => boolean
  readonly timeout: Duration.Duration | undefined
  readonly run: (payload: unknown) => Erased
  /** Older versions, by which what they left is settled. */
  readonly previous: ReadonlyMap<number, SagaDefinition>
}

/** What is asked for, whatever the id of the saga that does it. Its fields are only declared: else each would be set twice. */
export class Wanted implements Omit<IdempotencyRequest, "sagaId"> {
  declare readonly saga: string
  declare readonly key: string
  declare readonly derived: boolean
  declare readonly resources: ReadonlyArray<string>
  declare readonly journaled: boolean
  /** The payload in encoded form. */
  declare readonly encoded: unknown
  declare readonly fingerprint: string

  constructor(
    saga: string,
    key: string,
    derived: boolean,
    resources: ReadonlyArray<string>,
    journaled: boolean,
    encoded: unknown,
    fingerprint: string
  ) {
    this.saga = saga
    this.key = key
    this.derived = derived
    this.resources = resources
    this.journaled = journaled
    this.encoded = encoded
    this.fingerprint = fingerprint
  }

  by(sagaId: string): Request {
    return new Request(this, sagaId)
  }
}

export class Request extends Wanted implements IdempotencyRequest {
  declare readonly sagaId: string
  declare readonly unreadable?: string

  constructor(wanted: Wanted, sagaId: string, unreadable?: string) {
    const { derived, encoded, fingerprint, journaled, key, resources, saga } = wanted
    super(saga, key, derived, resources, journaled, encoded, fingerprint)
    this.sagaId = sagaId
    if (unreadable !== undefined) this.unreadable = unreadable
  }

  /** The same after a record was found that cannot be read. */
  beside(unreadable: string): Request {
    return new Request(this, this.sagaId, unreadable)
  }
}

export type Refusal = InvalidPayload | IdempotencyError

/**
 * What is wanted by a caller's key, worked out when it is first read: until then only its record can be asked for. A record
 * is told by the fingerprint, and that of plain JSON which its schema leaves as it is needs no encoding.
 */
export class Keyed implements Omit<IdempotencyRequest, "sagaId"> {
  declare readonly saga: string
  declare readonly key: string
  declare readonly derived: false
  declare private readonly definition: SagaDefinition
  declare private readonly journal: SagaJournal
  /** Once the fingerprint is known, it is of this, whatever becomes of what was given. */
  declare private payload: unknown
  declare private known: Wanted | Refusal | undefined
  declare private print: string | undefined

  constructor(saga: SagaDefinition, payload: unknown, key: string, journal: SagaJournal) {
    this.saga = saga.name
    this.key = whole(key)
    this.derived = false
    this.definition = saga
    this.journal = journal
    this.payload = payload
    this.known = undefined
    this.print = undefined
  }

  get wanted(): Wanted | Refusal {
    this.known ??= wantedOf(this.definition, this.payload, this.key, this.journal)
    return this.known
  }

  get resources(): ReadonlyArray<string> {
    const { wanted } = this
    return wanted instanceof Wanted ? wanted.resources : []
  }

  /** Not that of `wanted` where the payload has members that its schema does not tell of. */
  get fingerprint(): string {
    this.print ??= this.workOut()
    return this.print
  }

  private workOut(): string {
    const copy = isVerbatim(this.definition.payload) ? plainCopy(this.payload) : undefined
    if (copy !== undefined) {
      this.payload = copy.json
      const print = fingerprintOf(copy.json)
      if (typeof print === "string") return print
    }
    const { wanted } = this
    return wanted instanceof Wanted ? wanted.fingerprint : ""
  }
}

/** What is wanted; or, before anything is touched, `InvalidPayload` or `InvalidKey`. */
export const wantedOf = (
  saga: SagaDefinition,
  payload: unknown,
  callersKey: string | undefined,
  journal: SagaJournal
): Wanted | Refusal => {
  const invalid = callersKey === undefined ? undefined : invalidKey(callersKey)
  if (invalid !== undefined) return invalid
  const encoded = encoderOf(saga.payload)(payload)
  if (Exit.isFailure(encoded)) return new InvalidPayload({ saga: saga.name, problem: problemOf(encoded) })
  const fingerprint = fingerprintOf(encoded.value)
  if (typeof fingerprint !== "string") return fingerprint
  const named = saga.resources(payload)
  const resources = named.length === 1 ? named : [...new Set(named)].sort()
  return new Wanted(
    saga.name,
    callersKey ?? derivedKey(saga, resources, fingerprint),
    callersKey === undefined,
    resources,
    journal.keeps,
    encoded.value ?? null,
    fingerprint
  )
}

/** The parts are joined as JSON so that no two different lists of parts give the same text. */
const derivedKey = ({ name, version }: SagaDefinition, resources: ReadonlyArray<string>, fingerprint: string): string =>
  sha256(JSON.stringify([name, version, resources, fingerprint]))

/** The text of a result or of a failure to be repeated; undefined if its schema cannot encode it. */
export const endingText = (
  saga: SagaDefinition,
  sagaId: string,
  kind: "ok" | "err",
  result: unknown
): string | undefined => {
  const encoded = encoderOf(kind === "ok" ? saga.success : saga.error)(result)
  if (Exit.isFailure(encoded)) return undefined
  try {
    return `{"id":${quoted(sagaId)},"${kind}":${JSON.stringify(encoded.value ?? null) ?? "null"}}`
  } catch {
    return undefined
  }
}

export type Recorded =
  | { readonly _tag: "Success"; readonly sagaId: string; readonly value: unknown }
  | { readonly _tag: "Failure"; readonly sagaId: string; readonly error: unknown }
  | { readonly _tag: "Unreadable"; readonly problem: string }

interface Stored {
  readonly id: string
  readonly ok?: unknown
  readonly err?: unknown
}
const isStored = (json: unknown): json is Stored =>
  typeof json === "object" && json !== null && "id" in json && typeof json.id === "string"

/** Reads what `endingText` wrote, perhaps by another version of the program. */
export const readRecord = (saga: SagaDefinition, text: string): Recorded => {
  const stored = parsed(text)
  if (!isStored(stored)) return { _tag: "Unreadable", problem: "it is not what a saga records" }
  const failed = "err" in stored
  const decoded = decoderOf(failed ? saga.error : saga.success)(stored.ok ?? stored.err ?? null)
  if (Exit.isFailure(decoded)) return { _tag: "Unreadable", problem: problemOf(decoded) }
  return failed
    ? { _tag: "Failure", sagaId: stored.id, error: decoded.value }
    : { _tag: "Success", sagaId: stored.id, value: decoded.value }
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
