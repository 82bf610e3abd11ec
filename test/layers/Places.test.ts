/** The order of arrival within one process. */
import { assert, describe, it } from "@effect/vitest"
import { Latch } from "effect"
import { makePlaces, type Place } from "../../src/layers/lock/Places.ts"

const place = (...resources: ReadonlyArray<string>): Place => ({ resources, changed: Latch.makeUnsafe(false) })

describe("the places of those who wait", () => {
  it("give a turn to who is the first for all his resources, and tell him when he is", () => {
    const places = makePlaces()
    const [a, b, both, later] = [place("a"), place("b"), place("a", "b"), place("b")]
    for (const one of [a, b, both, later]) places.join(one)
    assert.deepStrictEqual(
      [a, b, both, later].map((one) => places.isFirst(one)),
      [true, true, false, false]
    )
    places.leave(a)
    assert.isFalse(places.isFirst(both), "b is before it still")
    assert.isFalse(both.changed.isOpen())
    places.leave(b)
    assert.isTrue(places.isFirst(both))
    assert.isTrue(both.changed.isOpen())
    assert.isFalse(later.changed.isOpen())
    places.leave(both)
    assert.isTrue(later.changed.isOpen())
  })

  it("wake the first of a resource and nobody behind him, or the first of every one", () => {
    const places = makePlaces()
    const [a, behind, b] = [place("a"), place("a"), place("b")]
    for (const one of [a, behind, b]) places.join(one)
    places.wake(["a", "of nobody"])
    assert.deepStrictEqual([a.changed.isOpen(), behind.changed.isOpen(), b.changed.isOpen()], [true, false, false])
    places.wake(undefined)
    assert.deepStrictEqual([behind.changed.isOpen(), b.changed.isOpen()], [false, true])
  })
})
