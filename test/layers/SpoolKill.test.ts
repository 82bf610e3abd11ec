/** Processes that add and drain are killed with SIGKILL at any point: what was acknowledged is in the table, once. */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { servers } from "../servers/inject.ts"
import { type Bare, bare, inEach, locked, promise, untilDrained, withQueue } from "./SpoolWorld.ts"

const KILLS = 5

interface Child {
  readonly process: ChildProcess
  /** What it said that it had added. */
  readonly added: Array<string>
  readonly kill: () => Promise<void>
}

const start = async ({ folder, postgres, redis }: Bare): Promise<Child> => {
  const child = fork(new URL("./spool-process.ts", import.meta.url).pathname, [postgres.url, redis.url, folder], {
    stdio: ["ignore", "ignore", "inherit", "ipc"]
  })
  const exited = once(child, "exit")
  const added: Array<string> = []
  await new Promise<void>((resolve, reject) => {
    child.on("message", (message) => (message === "ready" ? resolve() : added.push(String(message))))
    child.once("exit", () => reject(new Error("it ended before it was ready")))
  })
  return {
    process: child,
    added,
    kill: async () => {
      child.kill("SIGKILL")
      await exited
    }
  }
}

describe.skipIf(servers().postgres === null || servers().redis === null)("dead letters of killed processes", () => {
  it.live(
    "are in the table, each once, whoever was killed while adding, inserting and draining them",
    () =>
      Effect.gen(function* () {
        const all = yield* bare
        const children = yield* Effect.acquireRelease(
          Effect.promise(() => Promise.all([start(all), start(all)])),
          (some) => promise(() => Promise.all(some.map((one) => one.kill())).then(() => {}))
        )
        yield* promise(async () => {
          await all.postgres.kill()
          for (const { process } of children) process.send("add")
          while (children.some(({ added }) => added.length < 250)) await sleep(5)
          // In the middle of what they are writing.
          await Promise.all(children.map((one) => one.kill()))
        })
        const added = new Set(children.flatMap((one) => one.added))
        const [streamed = [], filed = []] = yield* inEach(all)
        const spooled = new Set([...streamed, ...filed])
        for (const id of added) assert.isTrue(spooled.has(id), `${id} was acknowledged`)
        yield* promise(all.postgres.restart)
        const before = yield* inEach(all)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* locked(all)
            const drainers = yield* Effect.promise(() => Promise.all([start(all), start(all)]))
            // Each waits for its first one to be inserted.
            yield* Effect.promise(() => sleep(1000))
            yield* promise(() => Promise.all(drainers.map((one) => one.kill())).then(() => {}))
          })
        )
        assert.deepStrictEqual(yield* inEach(all), before)
        const left = Effect.map(inEach(all), (ids) => ids.flat().length)
        let interrupted = 0
        for (let kills = 0; kills < KILLS; kills++) {
          const before = yield* left
          const drainers = yield* Effect.promise(() => Promise.all([start(all), start(all)]))
          // In the middle of what they are taking in.
          while ((yield* left) > before - kills * 5 - 1) yield* Effect.promise(() => sleep(1))
          yield* promise(() => Promise.all(drainers.map((one) => one.kill())).then(() => {}))
          if ((yield* left) > 0) interrupted++
        }
        yield* untilDrained(yield* withQueue(all))
        const rows = yield* all.rows
        assert.deepStrictEqual(new Set(rows.values()), new Set([1]))
        for (const id of spooled) assert.isTrue(rows.has(id), `${id} was spooled`)
        assert.deepStrictEqual(yield* inEach(all), [[], []])
        assert.strictEqual(interrupted, KILLS, "each was killed in the middle of draining")
      }).pipe(Effect.scoped),
    120_000
  )
})
