/** One saga, its repeat, and what becomes of values that their schemas refuse; told on stdout. */
import { DateTime, Effect, Exit, Schema } from "effect"
import { Saga, SagaMemory, Step } from "../../src/index.ts"

const Doc = Schema.Struct({
  id: Schema.String,
  sizes: Schema.Array(Schema.Finite),
  at: Schema.DateTimeUtc,
  note: Schema.optional(Schema.String)
})
const save = Step.make("save", {
  input: Doc,
  output: Schema.Finite,
  execute: ({ sizes }) => Effect.succeed(sizes.length),
  compensate: () => Effect.void
})
const saga = Saga.make("Save", {
  payload: Doc,
  success: Schema.Struct({ size: Schema.Finite, at: Schema.DateTimeUtc }),
  resource: ({ id }) => id,
  steps: [save],
  run: (doc) => Effect.map(save(doc), (size) => ({ size, at: doc.at }))
})
const at = DateTime.makeUnsafe(0)
const execute = (sizes: ReadonlyArray<number>) =>
  Effect.exit(saga.executeReceipt({ id: "1", sizes, at }, { idempotencyKey: `${sizes}` }))

const told = await Effect.runPromise(
  Effect.forEach([[1, 2], [1, 2], [Number.NaN]], execute).pipe(
    Effect.map((exits) =>
      exits.map((exit) =>
        Exit.isSuccess(exit)
          ? `${exit.value.replayed ? "replayed" : "ran"} ${exit.value.value.size} ${DateTime.formatIso(exit.value.value.at)}`
          : String(exit).split("\n")[0]
      )
    ),
    Effect.provide(SagaMemory.layer)
  )
)
const makesCode = () => {
  try {
    return Boolean(globalThis.Function("return true")())
  } catch {
    return false
  }
}
console.log(makesCode())
for (const one of told) console.log(one)
