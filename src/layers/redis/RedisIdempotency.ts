/**
 * Records and marks in Redis: one script to look, one to begin, one to end.
 *
 * **Gotchas**
 *
 * On a cluster a script reaches the keys of one hash tag only. With `cluster: true` a request whose keys have several
 * tags (several resources, or a caller's key) is served tag by tag: nothing but the lease makes the parts one then.
 */
import { Duration, Effect, Layer } from "effect"
import * as Redis from "effect/persistence/Redis"
import { invalidKey } from "../../schema/IdempotencyKey.ts"
import { Idempotency, type IdempotencyRequest } from "../../services/Idempotency.ts"
import { blind } from "../guard/Admissions.ts"
import { readMarks } from "./Ledger.ts"
import { lockLost, readRecord, replayed, served, storeError } from "./Records.ts"
import * as Scripts from "./RedisIdempotencyScripts.ts"
import { recordKey, tag, tagIn } from "./RedisKeys.ts"

export interface RedisIdempotencyOptions {
  /** How long a record lives; 24 hours unless said. */
  readonly timeToLive?: Duration.Input
  /** Whether Redis is a cluster; false unless said. */
  readonly cluster?: boolean
}

/** What one script can reach, the part with the record first. */
const partsOf = (request: IdempotencyRequest, cluster: boolean): readonly [Scripts.Part, ...Array<Scripts.Part>] => {
  const record = recordKey(request)
  if (!cluster) return [{ record, resources: request.resources }]
  const groups = Map.groupBy(request.resources, tag)
  const own = groups.get(tagIn(record)) ?? []
  groups.delete(tagIn(record))
  const others = [...groups.values()].map((resources) => ({ record: undefined, resources }))
  return [{ record, resources: own }, ...others]
}

const isOf = ({ sagaId }: IdempotencyRequest, record: string) => readRecord(record)?.sagaId === sagaId

export const LIVES = Duration.hours(24)

const make = Effect.fnUntraced(function* (options: RedisIdempotencyOptions) {
  const redis = yield* Redis.Redis
  const lives = Duration.toMillis(Duration.fromInputUnsafe(options.timeToLive ?? LIVES))
  const parts = (request: IdempotencyRequest) => partsOf(request, options.cluster ?? false)

  const everywhere = (others: ReadonlyArray<Scripts.Part>, fence: string) =>
    Effect.map(
      Effect.forEach(others, (part) => redis.eval(Scripts.writersAre)(part, fence)),
      (answers) => answers.every((answer) => answer === 1)
    )
  const find = Effect.fnUntraced(function* (request: IdempotencyRequest) {
    const [first, ...others] = parts(request)
    const found = yield* redis.eval(Scripts.lookup)(first, request)
    if (!request.derived || found[0] === "none" || others.length === 0) return found
    const landed = readRecord(found[1])
    return landed !== undefined && (yield* everywhere(others, landed.fence)) ? found : (["none"] as const)
  }, Effect.mapError(storeError))
  /** What parts were admitted before another refused or failed: nothing ran, so their marks go. */
  const withdraw = (done: ReadonlyArray<Scripts.Part>, request: IdempotencyRequest, fence: number) =>
    Effect.ignore(
      Effect.forEach(done, (part) => redis.eval(Scripts.end)(part, request, fence, lives, { _tag: "Nothing" }))
    )
  const isStored = (request: IdempotencyRequest) =>
    Effect.map(redis.send<string | null>("GET", recordKey(request)), (record) => isOf(request, record ?? ""))

  return Idempotency.of({
    lookup: Effect.fnUntraced(function* (request) {
      const invalid = request.derived ? undefined : invalidKey(request.key)
      if (invalid !== undefined) return yield* invalid
      if (request.replay === false) return undefined
      const found = yield* find(request)
      return found[0] === "none" ? undefined : yield* served(request, readRecord(found[1]), (result) => result)
    }),
    begin: Effect.fnUntraced(function* (request, lease) {
      const invalid = request.derived ? undefined : invalidKey(request.key)
      if (invalid !== undefined) return yield* invalid
      const all = parts(request)
      if (all.length > 1 && request.replay !== false) {
        const found = yield* find(request)
        if (found[0] !== "none") return yield* served(request, readRecord(found[1]), replayed)
      }
      const asked = all.length > 1 ? blind(request) : request
      const marks: Array<string> = []
      for (const [index, part] of all.entries()) {
        const before = withdraw(all.slice(0, index), request, lease.fence)
        const answer = yield* redis
          .eval(Scripts.begin)(part, asked, lease.fence, lives, lease.exclusive)
          .pipe(
            Effect.mapError(storeError),
            Effect.tapError(() => before)
          )
        if (answer[0] === "refused") return yield* Effect.andThen(before, lockLost(request, lease.fence))
        if (answer[0] !== "admitted") return yield* served(request, readRecord(answer[1]), replayed)
        marks.push(...answer.slice(1))
      }
      return { _tag: "Admitted", abandoned: yield* readMarks(marks) } as const
    }),
    end: Effect.fnUntraced(function* (request, lease, ending) {
      const [first, ...others] = parts(request)
      const asked = Effect.gen(function* () {
        // The record is what makes it an end, so it is stored when no other part can refuse any more.
        if (!(yield* everywhere(others, `${lease.fence}`))) return yield* isStored(request)
        const stored = yield* redis.eval(Scripts.end)(first, request, lease.fence, lives, ending)
        if (stored[0] === "refused") return isOf(request, stored[1])
        for (const part of others) yield* redis.eval(Scripts.end)(part, request, lease.fence, lives, ending)
        return true
      })
      if (!(yield* Effect.mapError(asked, storeError))) return yield* lockLost(request, lease.fence)
    }),
    ended: (request) => Effect.mapError(isStored(request), storeError)
  })
})

export const layerWith = (options: RedisIdempotencyOptions): Layer.Layer<Idempotency, never, Redis.Redis> =>
  Layer.effect(Idempotency, make(options))

export const layer: Layer.Layer<Idempotency, never, Redis.Redis> = layerWith({})
