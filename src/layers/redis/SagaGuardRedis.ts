/**
 * The guard with lock and idempotency fused on one Redis: one script in, one script out.
 *
 * **Details**
 *
 * A first request costs two commands, a repeat one: a plain read if this process has seen the record (`RecordRecall`). The
 * keys, tokens and announcements are those of `RedisLock` and `RedisIdempotency`: a process with this guard and one with
 * theirs exclude each other and serve each other's records. Within a process the waiters queue in the order of arrival and
 * only the first asks Redis, again when a release is announced or the lease in its way must have ended. Whoever waits for
 * the same result gets it once it is recorded, without asking for it; of several processes the first of each asks once.
 *
 * **Gotchas**
 *
 * - The lock passes on with the commit: there is no lease any more though the scope is still open.
 * - On a cluster a script reaches the keys of one hash tag only. With `cluster: true` a request whose keys have several
 *   tags (several resources, or a caller's key) is served by `ComposedGuard`, in more commands.
 */
import { Cause, Clock, Context, Duration, Effect, Exit, Layer, Random } from "effect"
import * as Redis from "effect/persistence/Redis"
import type { IdempotencyError } from "../../schema/IdempotencyError.ts"
import { invalidKey, scopedKey } from "../../schema/IdempotencyKey.ts"
import { LockError } from "../../schema/LockError.ts"
import { resourceNames } from "../../schema/Resource.ts"
import { Idempotency, type IdempotencyRequest, type OpenMark } from "../../services/Idempotency.ts"
import { Ids } from "../../services/Ids.ts"
import { admittingBy, type Entered, enteringBy, type Restore, SagaGuard } from "../../services/SagaGuard.ts"
import { blind, locked, wantedBy } from "../guard/Admissions.ts"
import * as ComposedGuard from "../guard/ComposedGuard.ts"
import { makeLandings } from "../guard/Landings.ts"
import { storeError as lockStoreError } from "../lock/LeasedLock.ts"
import { makeLeaseKeeper } from "../lock/Leases.ts"
import { makePlaces } from "../lock/Places.ts"
import { lockTimeout } from "../lock/Turns.ts"
import { readMarks } from "./Ledger.ts"
import { makeLockNode } from "./LockNode.ts"
import { listening } from "./LockWaiters.ts"
import { makeRecordRecall } from "./RecordRecall.ts"
import { type Landed, readRecord, replayed, served, storeError } from "./Records.ts"
import * as RedisIdempotency from "./RedisIdempotency.ts"
import { recordKey } from "./RedisKeys.ts"
import * as RedisLock from "./RedisLock.ts"
import { makeAdmissions } from "./SagaGuardAdmission.ts"
import { Entry } from "./SagaGuardEntry.ts"
import { questionsTo } from "./SagaGuardScripts.ts"
import { Waiter } from "./SagaGuardWaiter.ts"

export interface SagaGuardRedisOptions extends RedisLock.RedisLockOptions, RedisIdempotency.RedisIdempotencyOptions {
  /** False with idempotency switched off: nothing is looked up or recorded; true unless said. */
  readonly replay?: boolean
  /** Whether `RedisJournal` is on the same Redis: then an end and its journal's are one round trip; false unless said. */
  readonly journal?: boolean
}

type Refusal = LockError | IdempotencyError
type Marks = ReadonlyArray<string>

/** For what one script cannot reach. */
const composedOver = (options: SagaGuardRedisOptions) =>
  Layer.build(
    (options.replay === false ? ComposedGuard.layerWithoutReplay : ComposedGuard.layer).pipe(
      Layer.provide([RedisLock.layerWith(options), RedisIdempotency.layerWith(options)])
    )
  ).pipe(Effect.map((built) => admittingBy(Context.get(built, SagaGuard))))

const make = Effect.fnUntraced(function* (options: SagaGuardRedisOptions) {
  const redis = yield* Redis.Redis
  const context = yield* Effect.context<never>()
  const clock = Context.get(context, Clock.Clock)
  const background = yield* Effect.scope
  const lease = Duration.fromInputUnsafe(options.lease ?? RedisLock.LEASE)
  const limit = Duration.toMillis(Duration.fromInputUnsafe(options.wait ?? RedisLock.WAIT))
  const lives = {
    lease: Duration.toMillis(lease),
    record: Duration.toMillis(Duration.fromInputUnsafe(options.timeToLive ?? RedisIdempotency.LIVES))
  }
  const patience = RedisLock.answerWithin(lease)
  const node = makeLockNode(redis, { lease, answerWithin: patience, together: true })
  const keeper = yield* makeLeaseKeeper(lease, (held) => node.renew(held.resources, held.token))
  const questions = questionsTo(redis, lives)
  const admissions = makeAdmissions({ questions, node, keeper, clock, patience, journal: options.journal === true })
  const idempotency = Context.get(yield* Layer.build(RedisIdempotency.layerWith(options)), Idempotency)
  // Of a token only its beginning is drawn: no other guard has it, and drawing one costs more than asking for a lock.
  const origin = yield* Context.get(context, Ids).next
  let questioned = 0
  const { recall, seen } = makeRecordRecall(redis)
  const places = makePlaces<Waiter>()
  const landings = makeLandings<Landed, Waiter>()
  const composed = options.cluster === true ? yield* composedOver(options) : undefined
  const wake = (names: ReadonlyArray<unknown> | undefined) => {
    places.wake(names)
    landings.wake(names)
  }
  yield* Effect.forkScoped(listening(redis, wake), { startImmediately: true })

  const standDown = (waiter: Waiter) => {
    if (!waiter.isQueued) return
    waiter.isQueued = false
    places.leave(waiter)
  }
  const depart = (waiter: Waiter) => {
    standDown(waiter)
    if (waiter.isAboard) landings.leave(waiter)
  }
  /** It has learnt nothing of what is recorded. */
  const giveUp = (waiter: Waiter) => {
    depart(waiter)
    landings.letDown(waiter)
  }

  const lookup = (request: IdempotencyRequest) =>
    Effect.map(idempotency.lookup(request), (result) => (result === undefined ? undefined : replayed(result)))

  /**
   * A recorded result, an admission, or what is done while the lock is another's, for so many milliseconds. Only then, and
   * when it is admitted, it keeps its place. `asked`: now, in milliseconds; the lease counts from it.
   */
  const ask = <A>(
    waiter: Waiter,
    restore: Restore,
    asked: number,
    held: (millis: number) => Effect.Effect<A, Refusal>
  ): Effect.Effect<Entered | A, Refusal> => {
    waiter.isAsking = true
    return Effect.matchCauseEffect(restore(question(waiter)), {
      onFailure: (cause): Effect.Effect<Entered | A, Refusal> => {
        waiter.isAsking = false
        giveUp(waiter)
        return Effect.andThen(forget(waiter), Effect.failCause(Cause.map(cause, asStoreError(waiter))))
      },
      onSuccess: (answer): Effect.Effect<Entered | A, Refusal> => {
        waiter.isAsking = false
        if (typeof answer === "string") return admitted(waiter, asked, answer, [])
        switch (answer[0]) {
          case "held":
            landings.letDown(waiter)
            return held(Number(answer[1]))
          case "found":
            return found(waiter, answer[1])
          case "admitted":
            return admitted(waiter, asked, answer[1], answer.slice(2))
        }
      }
    })
  }
  /** What throws while it is put into words must not keep the place either. */
  const question = (waiter: Waiter) => {
    try {
      return questions.enter(waiter)
    } catch (cause) {
      return Effect.die(cause)
    }
  }
  const asStoreError = ({ request }: Waiter): ((cause: unknown) => Refusal) =>
    request.replay === false ? lockStoreError : storeError
  /** Whatever became of the question, the token must not stay; but nobody waits for a store that does not answer. */
  const forget = (waiter: Waiter) =>
    Effect.forkIn(admissions.withdraw(waiter), background, { startImmediately: true, uninterruptible: true })

  const learnt = (waiter: Waiter, landed: Landed) => {
    seen(waiter.request, waiter.record)
    landings.land(waiter, landed)
  }
  const found = (waiter: Waiter, text: string): Effect.Effect<Entered, Refusal> => {
    depart(waiter)
    const landed = readRecord(text)
    if (landed === undefined) landings.letDown(waiter)
    else learnt(waiter, landed)
    return served(waiter.request, landed, replayed)
  }

  const admitted = (waiter: Waiter, asked: number, fence: string, marks: Marks): Effect.Effect<Entered, Refusal> => {
    const now = clock.currentTimeMillisUnsafe()
    if (now >= keeper.deadline(asked)) {
      giveUp(waiter)
      const late = lockStoreError(new Error("the answer came after the lease had ended"))
      return Effect.andThen(forget(waiter), Effect.fail(late))
    }
    const admit = (abandoned: ReadonlyArray<OpenMark>) => {
      if (waiter.isAboard) landings.leave(waiter)
      const waited = now - waiter.since
      const admission = admissions.admit(waiter, { fence, asked, waited, context: waiter.caller }, abandoned, {
        // Whoever waits for the result need not ask for it: he comes next only if there is none.
        pass: (records) => {
          if (!records || !landings.isAwaited(waiter)) standDown(waiter)
        },
        refused: () => {
          standDown(waiter)
          landings.letDown(waiter)
        },
        left: (landed) => {
          if (landed !== undefined) learnt(waiter, landed)
          standDown(waiter)
        }
      })
      return Effect.succeed(admission)
    }
    if (marks.length === 0) return admit([])
    const read = Effect.tapError(readMarks(marks), () => {
      giveUp(waiter)
      return forget(waiter)
    })
    return Effect.flatMap(read, admit)
  }

  /** The text of a derived record already found unreadable is no news. */
  const news = (request: IdempotencyRequest, waiter: Waiter): Landed | undefined => {
    const { found } = waiter
    waiter.found = undefined
    if (found === undefined || !request.derived) return found
    return found.text !== undefined && found.text !== request.unreadable ? found : undefined
  }

  /** Somebody before it asks for the very same, or is admitted for it: what comes of that lands, or he lets it down. */
  const isAskedFor = ({ names, what }: Waiter) =>
    names.some((name) => {
      const head = places.head(name)
      if (head?.what !== what || head.request.replay === false) return false
      return head.isAsking || (head.held !== undefined && clock.currentTimeMillisUnsafe() < head.held.deadline)
    })

  /** `held`: for how long the lock is another's, if that is known already. */
  const wait = Effect.fnUntraced(function* (
    waiter: Waiter,
    restore: Restore,
    held: number | undefined
  ): Effect.fn.Return<Entered, Refusal> {
    const { names, request, since } = waiter
    let known = held
    const replays = request.replay !== false
    while (true) {
      const landed = news(request, waiter)
      if (landed !== undefined) return yield* served(request, landed, replayed)
      let pause = limit
      if (places.isFirst(waiter)) {
        const answer = known ?? (yield* ask(waiter, restore, clock.currentTimeMillisUnsafe(), Effect.succeed))
        known = undefined
        if (typeof answer !== "number") return answer
        // The holder may have died: its lease ends by itself. Jitter keeps processes from asking at the same moment.
        pause = answer + (yield* Random.nextIntBetween(1, 10))
      }
      if (replays && !waiter.isAboard) {
        waiter.isAboard = true
        landings.board(waiter)
        // What is recorded does not queue behind a lock; whoever asked has looked already.
        waiter.relies = !places.isFirst(waiter) && isAskedFor(waiter)
        waiter.recorded = !places.isFirst(waiter) && !waiter.relies
      }
      if (waiter.recorded) {
        waiter.recorded = false
        const recorded = yield* restore(lookup(request))
        if (recorded !== undefined) return recorded
        continue
      }
      const left = since + limit - clock.currentTimeMillisUnsafe()
      if (left <= 0) return yield* lockTimeout(names, Duration.millis(limit - left))
      yield* restore(waiter.changed.suspend(Math.min(pause, left)))
    }
  })

  const admit = (
    asked: IdempotencyRequest,
    restore: Restore,
    caller: Context.Context<never>
  ): Effect.Effect<Entered, Refusal> => {
    const request = options.replay === false ? blind(asked) : asked
    const invalid = request.derived ? undefined : invalidKey(request.key)
    if (invalid !== undefined) return Effect.fail(invalid)
    const name = request.derived ? request.key : scopedKey(request)
    const record = recordKey(request, name)
    const names = resourceNames(locked(request, request.derived ? name : wantedBy(name)))
    if (names instanceof LockError) return Effect.fail(names)
    if (composed !== undefined && new Entry(request, names, record, "").tags.size > 1) {
      return composed(request, restore, caller)
    }
    const now = clock.currentTimeMillisUnsafe()
    const waiter = new Waiter(request, names, record, `${origin}:${++questioned}`, { context, caller }, now)
    const waiting = (held?: number) =>
      Effect.onExitPrimitive(wait(waiter, restore, held), (exit) => {
        if (Exit.isFailure(exit) || exit.value._tag === "Replayed") depart(waiter)
        return undefined
      })
    return places.join(waiter) ? ask(waiter, restore, now, waiting) : waiting()
  }
  const enter = enteringBy(admit)

  const finish: SagaGuard["Service"]["finish"] = (request, fence, ending) =>
    Effect.catch(idempotency.end(request, { fence }, ending), (error) =>
      Effect.logInfo("the end of a recovered saga is not recorded", error)
    )

  return SagaGuard.of(options.replay === false ? { enter, admit, finish } : { enter, admit, finish, recall })
})

export const layerWith = (options: SagaGuardRedisOptions): Layer.Layer<SagaGuard, never, Redis.Redis> =>
  Layer.effect(SagaGuard, make(options))

export const layer: Layer.Layer<SagaGuard, never, Redis.Redis> = layerWith({})
