import { Context, Effect, Layer, Logger, Schema } from "effect"
import { Saga, Step } from "effect-saga"
import { Explorer } from "effect-saga/testing"

class Counter extends Context.Service<Counter, { n: number }>()("Counter") {}
const add = (by: number) =>
  Effect.map(Counter, (counter) => {
    counter.n += by
  })
const increment = Step.make("increment", {
  input: Schema.Int,
  execute: add,
  // Wrong: it subtracts whether or not anything was added, and again when it is repeated.
  compensate: (by) => add(-by)
})
const count = Saga.make("Count", {
  payload: Schema.Int,
  resource: () => "counter",
  steps: [increment],
  run: (by) => increment(by)
})

const exploration = Explorer.explore(count, {
  payload: 1,
  second: 2,
  world: Layer.sync(Counter, () => ({ n: 0 })),
  snapshot: Effect.map(Counter, ({ n }) => n)
})
const { violations } = await Effect.runPromise(Effect.provide(exploration, Logger.layer([])))
console.log(violations[0]?.seed) // crashAfter@0
