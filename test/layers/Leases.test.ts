/** Who is told that a lease is lost. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { leaseOf, makeLeaseKeeper } from "../../src/layers/lock/Leases.ts"
import type { LockError } from "../../src/schema/LockError.ts"

describe("a lease that is lost", () => {
  it.effect(
    "tells once, in the order of asking, all but those stopped before or by one of them, and at once who asks later",
    () =>
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        const keeper = yield* makeLeaseKeeper(Duration.seconds(30), () => Effect.succeed(false))
        const held = keeper.hold({ resources: ["a"], token: "t", fence: 7 }, clock.currentTimeMillisUnsafe())
        const { onLost } = leaseOf(held, clock, () => Effect.succeed(undefined))
        assert.isDefined(onLost)
        if (onLost === undefined) return
        const told: Array<string> = []
        const tell = (who: string) => (error: LockError) => void told.push(`${who} ${error.reason._tag}`)
        const stopped = onLost(tell("stopped"))
        let stop = () => {}
        onLost((error) => {
          tell("first")(error)
          stop()
        })
        stop = onLost(tell("second"))
        const third = onLost(tell("third"))
        stopped()
        stopped()
        yield* TestClock.adjust("60 seconds")
        assert.deepStrictEqual(told, ["first LockLost", "third LockLost"])
        third()
        onLost(tell("late"))
        assert.deepStrictEqual(told.slice(2), ["late LockLost"])
      }).pipe(Effect.scoped)
  )
})

describe("leases that are held", () => {
  const orders: ReadonlyArray<readonly [string, (n: number) => boolean]> = [
    ["from the first on", (n) => n < 70],
    ["from the last on", (n) => n >= 30],
    ["between others", (n) => n % 3 !== 0],
    ["one by one", () => true]
  ]
  for (const [order, isOver] of orders) {
    it.effect(`are renewed, and those let go of ${order} are not`, () =>
      Effect.gen(function* () {
        const renewed = new Set<number>()
        const keeper = yield* makeLeaseKeeper(Duration.seconds(30), ({ fence }) =>
          Effect.sync(() => {
            renewed.add(fence)
            return true
          })
        )
        const fences = Array.from({ length: 100 }, (_, n) => n)
        const held = fences.map((fence) => keeper.hold({ resources: [`r${fence}`], token: `t${fence}`, fence }, 0))
        const over = held.filter(({ fence }) => isOver(fence))
        for (const lease of order === "from the last on" ? over.reverse() : over) {
          keeper.letGo(lease)
          keeper.letGo(lease)
        }
        yield* TestClock.adjust(Duration.seconds(15))
        assert.deepStrictEqual(
          [...renewed].sort((a, b) => a - b),
          fences.filter((fence) => !isOver(fence))
        )
        for (const lease of over) assert.isUndefined(lease.loss)
      })
    )
  }
})
