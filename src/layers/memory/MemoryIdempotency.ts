/** Records and marks within one process; every operation is one synchronous step, so no two interleave. */
import { Clock, Duration, Effect, Layer, Metric } from "effect"
import { IdempotencyError, KeyReused, ResultNotKept } from "../../schema/IdempotencyError.ts"
import { invalidKey } from "../../schema/IdempotencyKey.ts"
import { LockError, LockLost } from "../../schema/LockError.ts"
import { Idempotency, type IdempotencyRequest, type OpenMark } from "../../services/Idempotency.ts"
import { idempotentCacheHits } from "../../services/Metrics.ts"

interface Stored {
  readonly sagaId: string
  readonly fingerprint: string
  readonly fence: number
  /** Undefined: served, but the result was not kept. */
  readonly text: string | undefined
  readonly expires: number
}

const make = (timeToLive: Duration.Duration): Idempotency["Service"] => {
  const records = new Map<string, Stored>()
  const writers = new Map<string, { readonly fence: number; readonly expires: number }>()
  /** By resource, then by saga id. */
  const open = new Map<string, Map<string, OpenMark>>()
  const ttl = Duration.toMillis(timeToLive)

  const keyOf = (request: IdempotencyRequest) =>
    request.derived ? `derived:${request.key}` : `caller:${JSON.stringify([request.saga, request.key])}`
  const fresh = <A extends { readonly expires: number }>(map: Map<string, A>, key: string, now: number) => {
    const found = map.get(key)
    if (found === undefined || found.expires > now) return found
    map.delete(key)
    return undefined
  }
  /** What expired first was kept first. */
  const sweep = (map: Map<string, { readonly expires: number }>, now: number) => {
    for (const [key, { expires }] of map) {
      if (expires > now) return
      map.delete(key)
    }
  }
  const keep = <A extends { readonly expires: number }>(map: Map<string, A>, key: string, value: A, now: number) => {
    map.delete(key)
    map.set(key, value)
    sweep(map, now)
  }
  const lockLost = (resource: string, fence: number) => new LockError({ reason: new LockLost({ resource, fence }) })
  const find = (request: IdempotencyRequest, now: number): string | IdempotencyError | undefined => {
    const invalid = request.derived ? undefined : invalidKey(request.key)
    if (invalid !== undefined) return invalid
    if (request.replay === false) return undefined
    const stored = fresh(records, keyOf(request), now)
    if (stored === undefined) return undefined
    if (request.derived) {
      // Void once another saga was admitted to any of the resources.
      const current = request.resources.every((resource) => fresh(writers, resource, now)?.fence === stored.fence)
      return current && stored.text !== request.unreadable ? stored.text : undefined
    }
    if (stored.fingerprint !== request.fingerprint) {
      return new IdempotencyError({ reason: new KeyReused({ key: request.key }) })
    }
    return (
      stored.text ?? new IdempotencyError({ reason: new ResultNotKept({ key: request.key, sagaId: stored.sagaId }) })
    )
  }
  const settle = (
    found: string | IdempotencyError | undefined
  ): Effect.Effect<string | undefined, IdempotencyError> => {
    if (found instanceof IdempotencyError) return Effect.fail(found)
    return found === undefined ? Effect.undefined : Effect.as(Metric.update(idempotentCacheHits, 1), found)
  }
  const now = Clock.currentTimeMillis

  return {
    lookup: (request) => Effect.flatMap(now, (at) => settle(find(request, at))),
    begin: Effect.fnUntraced(function* (request, lease) {
      const at = yield* now
      const result = yield* settle(find(request, at))
      if (result !== undefined) return { _tag: "Replayed", result } as const
      const isLate = (resource: string) => (fresh(writers, resource, at)?.fence ?? 0) > lease.fence
      const late = lease.exclusive ? request.resources.find(isLate) : undefined
      if (late !== undefined) return yield* lockLost(late, lease.fence)
      const abandoned = new Map<string, OpenMark>()
      const mark = {
        saga: request.saga,
        sagaId: request.sagaId,
        fence: lease.fence,
        resources: request.resources,
        journaled: request.journaled === true
      }
      for (const resource of request.resources) {
        if (!isLate(resource)) keep(writers, resource, { fence: lease.fence, expires: at + ttl }, at)
        if (!lease.exclusive) continue
        const marks = open.get(resource) ?? new Map<string, OpenMark>()
        for (const [sagaId, found] of marks) if (sagaId !== request.sagaId) abandoned.set(sagaId, found)
        open.set(resource, marks.set(request.sagaId, mark))
      }
      return { _tag: "Admitted", abandoned: [...abandoned.values()] } as const
    }),
    end: Effect.fnUntraced(function* (request, lease, ending) {
      const at = yield* now
      const lost = request.resources.find((resource) => fresh(writers, resource, at)?.fence !== lease.fence)
      if (lost !== undefined) {
        if (fresh(records, keyOf(request), at)?.sagaId === request.sagaId) return
        return yield* lockLost(lost, lease.fence)
      }
      for (const resource of request.resources) {
        const marks = open.get(resource)
        const had = marks?.delete(request.sagaId) ?? false
        // A success has dealt with the marks it found.
        if (marks?.size === 0 || (had && ending._tag !== "Nothing")) open.delete(resource)
      }
      if (ending._tag === "Nothing" || request.replay === false) return
      const record = {
        sagaId: request.sagaId,
        fingerprint: request.fingerprint,
        fence: lease.fence,
        text: ending._tag === "Result" ? ending.text : undefined,
        expires: at + ttl
      }
      keep(records, keyOf(request), record, at)
    }),
    ended: (request) => Effect.map(now, (at) => fresh(records, keyOf(request), at)?.sagaId === request.sagaId)
  }
}

/** Records live 24 hours unless said. */
export const layerWith = (options: { readonly timeToLive?: Duration.Input }): Layer.Layer<Idempotency> =>
  Layer.sync(Idempotency, () => make(Duration.fromInputUnsafe(options.timeToLive ?? "24 hours")))

export const layer: Layer.Layer<Idempotency> = layerWith({})
