/** What is recorded of a saga, and what that means. */
import { type Context, Effect } from "effect"
import {
  IdempotencyError,
  IdempotencyStoreError,
  KeyReused,
  RecordUnreadable,
  ResultNotKept
} from "../../schema/IdempotencyError.ts"
import { LockError, LockLost } from "../../schema/LockError.ts"
import { quoted } from "../../schema/Quoted.ts"
import type { Ending, IdempotencyRequest } from "../../services/Idempotency.ts"
import { idempotentCacheHits } from "../../services/Metrics.ts"

export const storeError = (cause: unknown) => new IdempotencyError({ reason: new IdempotencyStoreError({ cause }) })
export const lockLost = (request: IdempotencyRequest, fence: number) =>
  new LockError({ reason: new LockLost({ resource: request.resources.join(", "), fence }) })

/**
 * A record that a repeat can be served from. Its text is four lines, so that a script sees its fence: the fence, the
 * payload's fingerprint, the saga id as JSON, and the result; a success whose result was not kept has three.
 */
export interface Landed {
  readonly fence: string
  readonly fingerprint: string
  readonly sagaId: string
  /** Of the result; undefined: served, but not kept. */
  readonly text: string | undefined
}

/** Empty for an ending that leaves no record. */
export const recordText = ({ fingerprint, sagaId }: IdempotencyRequest, fence: string, ending: Ending): string => {
  if (ending._tag === "Nothing") return ""
  const head = `${fence}\n${fingerprint}\n${quoted(sagaId)}`
  return ending._tag === "Result" ? `${head}\n${ending.text}` : head
}

const unquoted = (id: string): string | undefined => {
  try {
    return String(JSON.parse(id))
  } catch {
    return undefined
  }
}

/** Undefined: it is not what this version writes. */
export const readRecord = (record: string): Landed | undefined => {
  const parts = /^(\d+)\n([^\n]*)\n("[^\n]*")(?:\n|$)/.exec(record)
  const [head, fence, fingerprint, id] = parts ?? []
  if (head === undefined || fence === undefined || fingerprint === undefined || id === undefined) return undefined
  const sagaId = unquoted(id)
  if (sagaId === undefined) return undefined
  return {
    fence,
    fingerprint,
    sagaId,
    text: head.endsWith("\n") ? record.slice(head.length) : undefined
  }
}

export const replayed = (result: string) => ({ _tag: "Replayed", result }) as const

/** What a record means for this request, as whoever asks wants to be told. */
export const served = <A>(
  request: Pick<IdempotencyRequest, "key" | "fingerprint">,
  landed: Landed | undefined,
  as: (result: string) => A
): Effect.Effect<A, IdempotencyError> =>
  Effect.contextWith((context: Context.Context<never>) => servedIn(context, request, landed, as))

/** The same in a context that is at hand. */
export const servedIn = <A>(
  context: Context.Context<never>,
  request: Pick<IdempotencyRequest, "key" | "fingerprint">,
  landed: Landed | undefined,
  as: (result: string) => A
): Effect.Effect<A, IdempotencyError> => {
  const { key } = request
  if (landed === undefined) {
    const problem = "it is not what this version writes"
    return Effect.fail(new IdempotencyError({ reason: new RecordUnreadable({ key, problem }) }))
  }
  if (landed.fingerprint !== request.fingerprint) {
    return Effect.fail(new IdempotencyError({ reason: new KeyReused({ key }) }))
  }
  const { text } = landed
  if (text === undefined) {
    return Effect.fail(new IdempotencyError({ reason: new ResultNotKept({ key, sagaId: landed.sagaId }) }))
  }
  idempotentCacheHits.updateUnsafe(1, context)
  return Effect.succeed(as(text))
}
