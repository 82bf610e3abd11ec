/** What a tracer and the logs show of a saga. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Logger, References, Schema, Tracer } from "effect"
import { Saga, SagaMemory, Step } from "effect-saga"
import { spanRecorder } from "./SpanRecorder.ts"

const put = Step.make("rows.put", {
  input: Schema.String,
  execute: (id) => Effect.logInfo(`put ${id}`),
  compensate: () => Effect.logInfo("put back")
})
const refuse = Step.make("rows.refuse", {
  input: Schema.String,
  error: Schema.Literal("refused"),
  isTransient: () => false,
  notApplied: () => true,
  execute: () => Effect.fail("refused" as const),
  compensate: () => Effect.void
})
const save = Saga.make("Save", {
  payload: Schema.String,
  error: Schema.Literal("refused"),
  resource: (id) => [id, `${id}'`],
  steps: [put, refuse],
  run: (id) => Effect.andThen(put(id), refuse(id))
})

describe("a saga", () => {
  it.effect("has a span, and one for each step and compensation, for a tracer that is there", () =>
    Effect.gen(function* () {
      const { spans, tracer } = spanRecorder()
      const exit = yield* Effect.exit(save.executeReceipt("1")).pipe(Effect.provideService(Tracer.Tracer, tracer))
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(
        spans.map(({ name }) => name),
        ["saga Save", "step rows.put", "step rows.refuse", "compensation rows.put"]
      )
      const [whole, ...parts] = spans
      const sagaId = whole?.attributes.get("sagaId")
      assert.deepStrictEqual(Object.fromEntries(whole?.attributes ?? []), { saga: "Save", sagaId, resource: "1,1'" })
      assert.deepStrictEqual(
        parts.map((span) => Object.fromEntries(span.attributes)),
        [
          { saga: "Save", sagaId, step: "rows.put", call: 0 },
          { saga: "Save", sagaId, step: "rows.refuse", call: 1 },
          { saga: "Save", sagaId, step: "rows.put", call: 0 }
        ]
      )
      assert.isTrue(spans.every(({ status }) => status._tag === "Ended"))
      assert.deepStrictEqual(
        parts.map(({ parent }) => (parent._tag === "Some" ? parent.value.spanId : undefined)),
        parts.map(() => whole?.spanId)
      )
    }).pipe(Effect.provide(SagaMemory.layer))
  )

  it.effect("makes no spans that nobody would see", () => {
    const seen: Array<string> = []
    const look = Step.make("look", {
      input: Schema.String,
      execute: () => Effect.map(Effect.option(Effect.currentSpan), ({ _tag }) => void seen.push(_tag)),
      compensate: () => Effect.void
    })
    const saga = Saga.make("Look", {
      payload: Schema.String,
      resource: (id) => id,
      steps: [look],
      run: (id) => look(id)
    })
    return Effect.map(Effect.provide(saga.execute("1"), SagaMemory.layer), () => assert.deepStrictEqual(seen, ["None"]))
  })

  it.effect("marks what is logged in it with itself, and with the step", () =>
    Effect.gen(function* () {
      const lines: Array<readonly [unknown, Record<string, unknown>]> = []
      const logger = Logger.make(({ fiber, message }) => {
        const annotations = Context.get(fiber.context, References.CurrentLogAnnotations)
        lines.push([Array.isArray(message) ? message[0] : message, annotations])
      })
      const logged = Effect.provide(Effect.exit(save.execute("1")), Logger.layer([logger]))
      yield* Effect.annotateLogs(logged, { request: "r" })
      const about = { request: "r", saga: "Save", sagaId: lines[0]?.[1].sagaId, resource: "1,1'", step: "rows.put" }
      assert.deepStrictEqual(lines, [
        ["put 1", about],
        ["put back", { ...about, compensation: true }]
      ])
    }).pipe(Effect.provide(SagaMemory.layer))
  )
})
