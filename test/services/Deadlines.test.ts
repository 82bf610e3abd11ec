/** Time limits that share one timer. */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect } from "effect"
import { TestClock } from "effect/testing"
import { type Deadlines, deadlinesIn, type Limit } from "../../src/services/Deadlines.ts"

const withDeadlines = <A, E>(use: (deadlines: Deadlines) => Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.contextWith((context: Context.Context<never>) => use(deadlinesIn(context)))

const limited = (expire: () => void): Limit => ({
  expire,
  until: 0,
  line: undefined,
  before: undefined,
  after: undefined
})

describe("deadlines", () => {
  it.effect("pass at their time and in their order, however they were set", () =>
    withDeadlines((deadlines) =>
      Effect.gen(function* () {
        const passed: Array<string> = []
        for (const millis of [300, 100, 200, 100]) deadlines(millis, () => void passed.push(`${millis}`))
        yield* TestClock.adjust(99)
        assert.deepStrictEqual(passed, [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(passed, ["100", "100"])
        yield* TestClock.adjust(99)
        // Set later than the timer runs for, and passes before it.
        deadlines(50, () => void passed.push("earlier"))
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(passed, ["100", "100", "200"])
        yield* TestClock.adjust(99)
        assert.deepStrictEqual(passed, ["100", "100", "200", "earlier"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(passed, ["100", "100", "200", "earlier", "300"])
      })
    )
  )

  it.effect("pass though one that is earlier comes while a later one is waited for", () =>
    withDeadlines((deadlines) =>
      Effect.gen(function* () {
        const passed: Array<number> = []
        deadlines(10_000, () => void passed.push(10_000))
        yield* TestClock.adjust(1000)
        deadlines(10, () => void passed.push(10))
        yield* TestClock.adjust(10)
        assert.deepStrictEqual(passed, [10])
        yield* TestClock.adjust(8990)
        assert.deepStrictEqual(passed, [10, 10_000])
      })
    )
  )

  it.effect("of which 10,000 pass in one instant all pass, and those called off do not", () =>
    withDeadlines((deadlines) =>
      Effect.gen(function* () {
        let passed = 0
        const cancel = Array.from({ length: 10_000 }, () => deadlines(1000, () => void passed++))
        for (let i = 0; i < cancel.length; i += 2) {
          cancel[i]?.()
          cancel[i]?.()
        }
        yield* TestClock.adjust(1000)
        assert.strictEqual(passed, 5000)
        for (const one of cancel) one()
        yield* TestClock.adjust(10_000)
        assert.strictEqual(passed, 5000)
      })
    )
  )

  it.effect("may be called off, and set, by one that passes", () =>
    withDeadlines((deadlines) =>
      Effect.gen(function* () {
        const passed: Array<string> = []
        deadlines(100, () => {
          passed.push("first")
          callOff()
          deadlines(100, () => void passed.push("again"))
          deadlines(50, () => void passed.push("sooner"))
        })
        const callOff = deadlines(100, () => void passed.push("called off"))
        deadlines(100, () => void passed.push("last"))
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(passed, ["first", "last"])
        yield* TestClock.adjust(50)
        assert.deepStrictEqual(passed, ["first", "last", "sooner"])
        yield* TestClock.adjust(50)
        assert.deepStrictEqual(passed, ["first", "last", "sooner", "again"])
      })
    )
  )

  it.effect("are set again and lifted as what they are, without closures", () =>
    withDeadlines((deadlines) =>
      Effect.gen(function* () {
        let passed = 0
        const limit = limited(() => passed++)
        deadlines.set(100, limit)
        deadlines.lift(limit)
        deadlines.lift(limit)
        yield* TestClock.adjust(100)
        assert.strictEqual(passed, 0)
        deadlines.set(100, limit)
        yield* TestClock.adjust(100)
        assert.strictEqual(passed, 1)
        deadlines.lift(limit)
        deadlines.set(100, limit)
        yield* TestClock.adjust(100)
        assert.strictEqual(passed, 2)
      })
    )
  )

  it.effect("pass in the order in which they were set, whichever are lifted from between, before or behind", () =>
    withDeadlines((deadlines) =>
      Effect.gen(function* () {
        const passed: Array<number> = []
        const limits = Array.from({ length: 8 }, (_, n) => limited(() => passed.push(n)))
        for (const limit of limits) deadlines.set(100, limit)
        for (const [n, limit] of limits.entries()) if ([0, 3, 4, 7].includes(n)) deadlines.lift(limit)
        for (const limit of limits.slice(0, 1)) deadlines.set(100, limit)
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(passed, [1, 2, 5, 6, 0])
        for (const { after, before, line } of limits)
          assert.deepStrictEqual([after, before, line], Array(3).fill(undefined))
      })
    )
  )

  it.effect("may lift each other as they pass", () =>
    withDeadlines((deadlines) =>
      Effect.gen(function* () {
        const passed: Array<string> = []
        const second = limited(() => passed.push("second"))
        const third = limited(() => passed.push("third"))
        const first = limited(() => {
          passed.push("first")
          deadlines.lift(second)
          deadlines.lift(first)
        })
        for (const limit of [first, second, third]) deadlines.set(100, limit)
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(passed, ["first", "third"])
      })
    )
  )

  it.effect("are those of the clock in the context", () =>
    Effect.gen(function* () {
      const own = yield* withDeadlines(Effect.succeed)
      assert.strictEqual(yield* withDeadlines(Effect.succeed), own)
      const others = yield* Effect.provide(withDeadlines(Effect.succeed), TestClock.layer())
      assert.notStrictEqual(others, own)
    })
  )

  /** What a process prints until nothing keeps it alive. */
  const printed = async (body: string) => {
    const module = fileURLToPath(new URL("../../src/services/Deadlines.ts", import.meta.url))
    const script = `
      import { Context } from "effect"
      import { deadlinesIn } from ${JSON.stringify(module)}
      const deadlines = deadlinesIn(Context.empty())
      process.on("exit", () => console.log("ended"))
      ${body}
    `
    const folder = fileURLToPath(new URL("../..", import.meta.url))
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--input-type=module-typescript", "--eval", script],
      { cwd: folder, timeout: 50_000 }
    )
    return stdout.split("\n").slice(0, -1)
  }

  it("keep no process alive once they are called off", { timeout: 60_000 }, async () => {
    assert.deepStrictEqual(await printed("setTimeout(deadlines(600_000, () => {}), 1)"), ["ended"])
    // Set and called off by one that passes together with another.
    const passing = "deadlines(10, () => deadlines(600_000, () => {})()); deadlines(10, () => console.log('passed'))"
    assert.deepStrictEqual(await printed(passing), ["passed", "ended"])
    assert.deepStrictEqual(await printed("deadlines(Infinity, () => {})"), ["ended"])
  })

  it("keep the process alive again by a timer that nobody needed for a while", { timeout: 60_000 }, async () => {
    const body = `
      setTimeout(deadlines(800, () => console.log("called off")), 1)
      setTimeout(() => deadlines(1000, () => console.log("passed")), 400)
    `
    assert.deepStrictEqual(await printed(body), ["passed", "ended"])
  })

  it("pass in time though the clock was put forward past a timer that nobody needed", { timeout: 60_000 }, async () => {
    const body = `
      const real = Date.now
      setTimeout(deadlines(600_000, () => {}), 1)
      setTimeout(() => {
        Date.now = () => real() + 3_600_000
        deadlines(100, () => console.log("passed"))
      }, 400)
    `
    assert.deepStrictEqual(await printed(body), ["passed", "ended"])
  })
})
