/** Records and marks within one process; every operation is one synchronous step, so no two interleave. */
import { Clock, Context, Duration, Effect, Layer } from "effect"
import { IdempotencyError, KeyReused, ResultNotKept } from "../../schema/IdempotencyError.ts"
import { invalidKey, scopedKey } from "../../schema/IdempotencyKey.ts"
import { LockError, LockLost } from "../../schema/LockError.ts"
import type { Lease } from "../../services/DistributedLock.ts"
import {
  type Begun,
  type Ending,
  Idempotency,
  type IdempotencyRequest,
  type OpenMark
} from "../../services/Idempotency.ts"
import { idempotentCacheHits } from "../../services/Metrics.ts"

interface Stored {
  readonly sagaId: string
  readonly fingerprint: string
  readonly fence: number
  /** Undefined: served, but the result was not kept. */
  readonly text: string | undefined
  readonly expires: number
}

interface Writer {
  readonly fence: number
  readonly expires: number
}

const admitted: Begun = { _tag: "Admitted", abandoned: [] }

const lockLost = (resource: string, fence: number) => new LockError({ reason: new LockLost({ resource, fence }) })

const fresh = <A extends { readonly expires: number }>(map: Map<string, A>, key: string, now: number) => {
  const found = map.get(key)
  if (found === undefined || found.expires > now) return found
  map.delete(key)
  return undefined
}

/** What expired first was kept first. */
const keep = <A extends { readonly expires: number }>(map: Map<string, A>, key: string, value: A, now: number) => {
  map.delete(key)
  map.set(key, value)
  for (const [first, { expires }] of map) {
    if (expires > now) return
    map.delete(first)
  }
}

/** What every operation is: one step at the time of whoever asks. */
const step = <A, E>(run: (now: number, context: Context.Context<never>) => Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.withFiber(({ context }) => run(Context.get(context, Clock.Clock).currentTimeMillisUnsafe(), context))

const make = (timeToLive: Duration.Duration): Idempotency["Service"] => {
  const derived = new Map<string, Stored>()
  const callers = new Map<string, Stored>()
  const writers = new Map<string, Writer>()
  /** By resource: mostly one. */
  const open = new Map<string, ReadonlyArray<OpenMark>>()
  const ttl = Duration.toMillis(timeToLive)

  const recordsOf = (request: IdempotencyRequest) => (request.derived ? derived : callers)
  const keyOf = (request: IdempotencyRequest) => (request.derived ? request.key : scopedKey(request))
  const isEndOf = (request: IdempotencyRequest, now: number) =>
    fresh(recordsOf(request), keyOf(request), now)?.sagaId === request.sagaId

  const find = (request: IdempotencyRequest, now: number): string | IdempotencyError | undefined => {
    const invalid = request.derived ? undefined : invalidKey(request.key)
    if (invalid !== undefined) return invalid
    if (request.replay === false) return undefined
    const stored = fresh(recordsOf(request), keyOf(request), now)
    if (stored === undefined) return undefined
    if (request.derived) {
      // Void once another saga was admitted to any of the resources.
      for (const resource of request.resources) {
        if (fresh(writers, resource, now)?.fence !== stored.fence) return undefined
      }
      return stored.text !== request.unreadable ? stored.text : undefined
    }
    if (stored.fingerprint !== request.fingerprint) {
      return new IdempotencyError({ reason: new KeyReused({ key: request.key }) })
    }
    return (
      stored.text ?? new IdempotencyError({ reason: new ResultNotKept({ key: request.key, sagaId: stored.sagaId }) })
    )
  }

  const admit = (request: IdempotencyRequest, { exclusive, fence }: Lease, now: number): Begun | LockError => {
    const { resources, saga, sagaId } = request
    const isLate = (resource: string) => (fresh(writers, resource, now)?.fence ?? 0) > fence
    const late = exclusive ? resources.find(isLate) : undefined
    if (late !== undefined) return lockLost(late, fence)
    const mark = { saga, sagaId, fence, resources, journaled: request.journaled === true }
    let abandoned: Map<string, OpenMark> | undefined
    for (const resource of resources) {
      if (exclusive || !isLate(resource)) keep(writers, resource, { fence, expires: now + ttl }, now)
      if (!exclusive) continue
      const others = open.get(resource)?.filter((found) => found.sagaId !== sagaId) ?? []
      open.set(resource, [...others, mark])
      for (const found of others) {
        abandoned ??= new Map()
        abandoned.set(found.sagaId, found)
      }
    }
    return abandoned === undefined ? admitted : { _tag: "Admitted", abandoned: [...abandoned.values()] }
  }

  const end = (request: IdempotencyRequest, fence: number, ending: Ending, now: number): LockError | undefined => {
    const { fingerprint, resources, sagaId } = request
    for (const resource of resources) {
      if (fresh(writers, resource, now)?.fence !== fence) {
        return isEndOf(request, now) ? undefined : lockLost(resource, fence)
      }
    }
    for (const resource of resources) {
      const marks = open.get(resource)
      if (marks === undefined) continue
      const others = marks.filter((mark) => mark.sagaId !== sagaId)
      // A success has dealt with the marks it found.
      if (others.length === 0 || (others.length < marks.length && ending._tag !== "Nothing")) open.delete(resource)
      else open.set(resource, others)
    }
    if (ending._tag === "Nothing" || request.replay === false) return undefined
    const text = ending._tag === "Result" ? ending.text : undefined
    keep(recordsOf(request), keyOf(request), { sagaId, fingerprint, fence, text, expires: now + ttl }, now)
    return undefined
  }

  return {
    lookup: (request) =>
      step((now, context) => {
        const found = find(request, now)
        if (found === undefined) return Effect.undefined
        if (typeof found !== "string") return Effect.fail(found)
        idempotentCacheHits.updateUnsafe(1, context)
        return Effect.succeed(found)
      }),
    begin: (request, lease) =>
      step((now, context): Effect.Effect<Begun, IdempotencyError | LockError> => {
        const found = find(request, now)
        if (found === undefined) {
          const begun = admit(request, lease, now)
          return begun instanceof LockError ? Effect.fail(begun) : Effect.succeed(begun)
        }
        if (typeof found !== "string") return Effect.fail(found)
        idempotentCacheHits.updateUnsafe(1, context)
        return Effect.succeed({ _tag: "Replayed", result: found })
      }),
    end: (request, { fence }, ending) =>
      step((now) => {
        const lost = end(request, fence, ending, now)
        return lost === undefined ? Effect.void : Effect.fail(lost)
      }),
    ended: (request) => step((now) => Effect.succeed(isEndOf(request, now)))
  }
}

/** Records live 24 hours unless said. */
export const layerWith = (options: { readonly timeToLive?: Duration.Input }): Layer.Layer<Idempotency> =>
  Layer.sync(Idempotency, () => make(Duration.fromInputUnsafe(options.timeToLive ?? "24 hours")))

export const layer: Layer.Layer<Idempotency> = layerWith({})
