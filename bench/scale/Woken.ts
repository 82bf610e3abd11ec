/**
 * From a commit to those who wait for it in other processes: until a duplicate has the result in its hands, and until
 * the next writer's first step begins. One process holds, two others wait. The time runs from when the commit is handed
 * to the client, so it contains the way to Redis: what is found is above what is asked for.
 */
import type { ChildProcess } from "node:child_process"
import { Context, Deferred, Effect, Fiber, Layer, Schema } from "effect"
import * as Redis from "effect/persistence/Redis"
import { next, start } from "./Process.ts"
import { type Noted, noting, now, type Order, Times } from "./WokenWorld.ts"
import { at, type Found, freshId, live, sagaOf, type Urls, Write, writingRows } from "./World.ts"

const WAITING = [2, 8, 32]
const PROCESSES = 2

const each = <A>(children: ReadonlyArray<ChildProcess>, ask: (child: ChildProcess) => Promise<A>) =>
  Effect.promise(() => Promise.all(children.map(ask)))

const waiters = (urls: Urls) =>
  Effect.gen(function* () {
    const children = yield* Effect.acquireRelease(
      Effect.sync(() =>
        Array.from({ length: PROCESSES }, () => start(new URL("WokenProcess.ts", import.meta.url), urls))
      ),
      (all) => Effect.sync(() => all.map((child) => child.kill()))
    )
    yield* each(children, next)
    return children
  })

const holding = Effect.fnUntraced(function* (urls: Urls) {
  const noted: Noted = { pending: 0, held: 0, committed: 0 }
  const context = yield* Layer.build(live(urls, {}, noting(urls.redis, noted)))
  const rows = Context.get(yield* Effect.provideContext(writingRows, context), Write)
  const children = yield* waiters(urls)
  const redis = Context.get(context, Redis.Redis)
  const saga = sagaOf(1)
  const empty: Array<number> = []

  /** Milliseconds from one commit. */
  const round = Effect.fnUntraced(function* (kind: Order["kind"], waiting: number) {
    const [id, held, end] = [freshId(), yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const write = (row: string) =>
      Deferred.succeed(held, undefined).pipe(Effect.andThen(Deferred.await(end)), Effect.andThen(rows(row)))
    const order: Order = { id, key: `${id} key`, kind, count: waiting / PROCESSES }
    const holder = yield* saga
      .execute({ id, body: "" }, { idempotencyKey: order.key })
      .pipe(Effect.provideContext(Context.add(context, Write, write)), Effect.forkChild)
    yield* Deferred.await(held)
    yield* each(children, (child) => {
      const answer = next(child)
      child.send(order, () => {})
      return answer
    })
    const answers = yield* Effect.forkChild(each(children, next), { startImmediately: true })
    yield* Deferred.succeed(end, undefined)
    yield* Fiber.join(holder)
    const { committed } = noted
    const times = Schema.decodeUnknownSync(Schema.Array(Times))(yield* Fiber.join(answers)).flat()
    if (kind === "same" && times.length !== waiting) return yield* Effect.die("a duplicate ran")
    const since = now()
    yield* redis.send("PING")
    empty.push(now() - since)
    return (kind === "same" ? times : [Math.min(...times)]).map((time) => time - committed)
  })
  return { round, empty }
})

const told = (all: ReadonlyArray<number>) =>
  `${at(all, 0.5).toFixed(2)} ms (median), ${at(all, 0.99).toFixed(2)} ms (p99)`

export const woken = (urls: Urls, quick: boolean): Effect.Effect<Found, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { empty, round } = yield* holding(urls)
      const notes: Array<string> = []
      const series = []
      for (const [kind, name] of [
        ["same", "duplicate has the result"],
        ["other", "next writer is admitted"]
      ] as const) {
        const [medians, worst]: [Array<readonly [number, number]>, Array<readonly [number, number]>] = [[], []]
        for (const waiting of WAITING) {
          const all: Array<number> = []
          for (let n = 0; n < 50; n++) yield* round(kind, waiting)
          for (let n = 0; n < (quick ? 100 : 1000); n++) all.push(...(yield* round(kind, waiting)))
          medians.push([waiting, at(all, 0.5)])
          worst.push([waiting, at(all, 0.99)])
          notes.push(`${name}, ${waiting} wait: ${told(all)}, ${all.length} samples`)
        }
        series.push({ name: `${kind === "same" ? "result" : "admission"}, median`, points: medians })
        series.push({ name: `${kind === "same" ? "result" : "admission"}, p99`, points: worst })
      }
      notes.push(`an empty question to Redis in between: ${told(empty)}`)
      const title = "From a commit to who waits in another process"
      return { chart: { title, x: `waiting, in ${PROCESSES} other processes`, y: "ms", series }, notes }
    })
  )
