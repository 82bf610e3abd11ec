import { Effect, Schema } from "effect"
import { Saga, SagaMemory, Step } from "effect-saga"

class Declined extends Schema.TaggedError<Declined>()("Declined", { cents: Schema.Int }) {}
const Order = Schema.Struct({ id: Schema.String, cents: Schema.Int })
const stock = new Set<string>()

const reserve = Step.make("stock.reserve", {
  input: Order,
  dependency: "postgres",
  execute: (order) => Effect.sync(() => void stock.add(order.id)),
  compensate: (order) => Effect.sync(() => void stock.delete(order.id))
})
const charge = Step.make("card.charge", {
  input: Order,
  error: Declined,
  isTransient: () => false,
  notApplied: () => true,
  execute: ({ cents }) => (cents > 100 ? Effect.fail(new Declined({ cents })) : Effect.void),
  compensate: () => Effect.log("refunded")
})

const place = Saga.make("PlaceOrder", {
  payload: Order,
  error: Declined,
  resource: (order) => order.id,
  steps: [reserve, charge],
  run: Effect.fn(function* (order) {
    yield* reserve(order)
    yield* charge(order)
  })
})

const error = await Effect.runPromise(
  Effect.flip(place.execute({ id: "1", cents: 500 })).pipe(Effect.provide(SagaMemory.layer))
)
console.log(error._tag, stock.size) // Declined 0
