/** What a lock asks of one Redis. Resources of several cluster nodes are asked for bucket by bucket, in order. */
import { Duration, Effect } from "effect"
import * as Redis from "effect/persistence/Redis"
import { bucket } from "../../schema/Digest.ts"
import type { Taken } from "../lock/LeasedLock.ts"
import { RELEASED } from "./RedisKeys.ts"
import * as Scripts from "./RedisLockScripts.ts"

export interface LockNodeOptions {
  /** Whether one script reaches all resources asked for together, as on a single Redis; false unless said. */
  readonly together?: boolean
  readonly lease: Duration.Duration
  /** How long an answer is awaited: a client without a limit of its own must not wait for ever. */
  readonly answerWithin: Duration.Duration
}

export interface LockNode {
  readonly take: (resources: ReadonlyArray<string>, token: string) => Effect.Effect<Taken, Redis.RedisError>
  readonly release: (resources: ReadonlyArray<string>, token: string) => Effect.Effect<void, Redis.RedisError>
  readonly renew: (resources: ReadonlyArray<string>, token: string) => Effect.Effect<boolean, Redis.RedisError>
  /**
   * A fence above all drawn before, and at least `least`; undefined when the token does not hold. With the empty token
   * it is for anybody.
   */
  readonly advance: (
    resources: ReadonlyArray<string>,
    token: string,
    least: number
  ) => Effect.Effect<number | undefined, Redis.RedisError>
  /** Raises the fences to one drawn elsewhere; false when the token does not hold. */
  readonly raise: (
    resources: ReadonlyArray<string>,
    token: string,
    fence: number
  ) => Effect.Effect<boolean, Redis.RedisError>
}

const byBucket = (resources: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> => {
  if (resources.length === 1) return [resources]
  const groups = Map.groupBy(resources, bucket)
  return [...groups].sort(([a], [b]) => a - b).map(([, group]) => group)
}

const noAnswer = (after: Duration.Duration) =>
  new Redis.RedisError({ cause: new Error(`Redis did not answer within ${Duration.format(after)}`) })

export const makeLockNode = (redis: Redis.Redis["Service"], options: LockNodeOptions): LockNode => {
  const lease = Duration.toMillis(options.lease)
  const grouped = (resources: ReadonlyArray<string>) => (options.together === true ? [resources] : byBucket(resources))
  const ask = <A>(question: Effect.Effect<A, Redis.RedisError>) =>
    Effect.timeoutOrElse(question, {
      duration: options.answerWithin,
      orElse: () => Effect.fail(noAnswer(options.answerWithin))
    })

  const releaseGroups = (groups: ReadonlyArray<ReadonlyArray<string>>, token: string) =>
    Effect.forEach(groups, (group) => ask(redis.eval(Scripts.release)(group, token, RELEASED)), { discard: true })

  const raiseGroups = Effect.fnUntraced(function* (
    groups: ReadonlyArray<ReadonlyArray<string>>,
    token: string,
    fence: number
  ) {
    for (const group of groups) {
      if ((yield* ask(redis.eval(Scripts.raise)(group, token, fence))) === 0) return false
    }
    return true
  })

  return {
    take: Effect.fnUntraced(function* (resources, token) {
      const groups = grouped(resources)
      let fence = 0
      for (const [index, group] of groups.entries()) {
        const answer = yield* ask(redis.eval(Scripts.acquire)(group, token, lease, fence))
        if (answer[0] === 0) {
          yield* releaseGroups(groups.slice(0, index), token)
          return { _tag: "Held", wait: Number(answer[1]), holder: answer[2] }
        }
        fence = Number(answer[1])
      }
      // The last group drew the highest fence: the others must have it before anybody is admitted.
      if (!(yield* raiseGroups(groups.slice(0, -1), token, fence))) {
        return yield* new Redis.RedisError({ cause: new Error("the lease ended while it was taken") })
      }
      return { _tag: "Taken", fence }
    }),
    release: (resources, token) => releaseGroups(grouped(resources), token),
    renew: (resources, token) =>
      Effect.map(
        Effect.forEach(grouped(resources), (group) => ask(redis.eval(Scripts.renew)(group, token, lease))),
        (kept) => kept.every((one) => one === 1)
      ),
    advance: Effect.fnUntraced(function* (resources, token, least) {
      const groups = grouped(resources)
      let fence = least
      for (const group of groups) {
        const drawn = yield* ask(redis.eval(Scripts.advance)(group, token, fence))
        if (drawn === "") return undefined
        fence = Number(drawn)
      }
      return (yield* raiseGroups(groups.slice(0, -1), token, fence)) ? fence : undefined
    }),
    raise: (resources, token, fence) => raiseGroups(grouped(resources), token, fence)
  }
}
