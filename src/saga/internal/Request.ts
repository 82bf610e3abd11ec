/** What identifies one request: its key, its fingerprint, its resources; and the text of its recorded result. */
import { Context, type Duration, Effect, Exit } from "effect"
import { canonicalJson } from "../../schema/CanonicalJson.ts"
import { sha256 } from "../../schema/Digest.ts"
import type { IdempotencyError } from "../../schema/IdempotencyError.ts"
import { invalidKey } from "../../schema/IdempotencyKey.ts"
import { InvalidPayload } from "../../schema/SagaError.ts"
import type { IdempotencyRequest } from "../../services/Idempotency.ts"
import { Ids } from "../../services/Ids.ts"
import { SagaJournal } from "../../services/SagaJournal.ts"
import { decoderOf, encoderOf, type JsonCodec, problemOf } from "./Codec.ts"
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

export interface Request extends IdempotencyRequest {
  /** The payload in encoded form. */
  readonly encoded: unknown
}

/** Fails before anything is touched: `InvalidPayload`, or `InvalidKey`. */
export const makeRequest = (
  saga: SagaDefinition,
  payload: unknown,
  callersKey: string | undefined,
  context: Context.Context<never>
): Effect.Effect<Request, InvalidPayload | IdempotencyError> => {
  const invalid = callersKey === undefined ? undefined : invalidKey(callersKey)
  if (invalid !== undefined) return Effect.fail(invalid)
  const encoded = encoderOf(saga.payload)(payload)
  if (Exit.isFailure(encoded)) {
    return Effect.fail(new InvalidPayload({ saga: saga.name, problem: problemOf(encoded) }))
  }
  const canonical = canonicalJson(encoded.value)
  if (typeof canonical !== "string") return Effect.fail(canonical)
  const named = saga.resources(payload)
  const resources = named.length === 1 ? named : [...new Set(named)].sort()
  return Effect.map(Context.get(context, Ids).next, (sagaId) => ({
    saga: saga.name,
    sagaId,
    // The parts are joined as JSON so that no two different lists of parts give the same text.
    key: callersKey ?? sha256(JSON.stringify([saga.name, saga.version, resources, canonical])),
    derived: callersKey === undefined,
    fingerprint: sha256(canonical),
    resources,
    journaled: Context.get(context, SagaJournal).keeps,
    encoded: encoded.value ?? null
  }))
}

/** The text of a result or of a failure to be repeated; undefined if its schema cannot encode it. */
export const endingText = (
  saga: SagaDefinition,
  sagaId: string,
  kind: "ok" | "err",
  value: unknown
): string | undefined => {
  const encoded = encoderOf(kind === "ok" ? saga.success : saga.error)(value)
  if (Exit.isFailure(encoded)) return undefined
  try {
    return JSON.stringify({ id: sagaId, [kind]: encoded.value ?? null })
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
