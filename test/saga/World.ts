/** Three stores of a test, whose calls are logged and can be made to fail, hang or die. */
import { Context, Effect, Layer, Option, Schema } from "effect"
import { Saga, Step } from "effect-saga"

export class Refused extends Schema.TaggedError<Refused>()("Refused", {
  store: Schema.String,
  transient: Schema.Boolean,
  applied: Schema.Boolean
}) {}

export type Behaviour = "works" | "fails" | "failsApplied" | "transient" | "hangs" | "dies"

export class World extends Context.Service<
  World,
  {
    readonly log: Array<string>
    readonly rows: Map<string, string>
    readonly behaviours: Map<string, Array<Behaviour>>
    readonly fences: Array<number>
  }
>()("test/World") {
  static readonly layer = Layer.sync(World, () => ({
    log: [],
    rows: new Map(),
    behaviours: new Map(),
    fences: []
  }))
}

/** What a store does in its next calls; the last behaviour stays. */
export const behave = (call: string, ...behaviours: ReadonlyArray<Behaviour>) =>
  Effect.map(World, (world) => {
    world.behaviours.set(call, [...behaviours])
  })

const act = (name: string, store: string, apply: (rows: Map<string, string>) => void) =>
  Effect.gen(function* () {
    const world = yield* World
    const run = yield* Step.SagaRun
    const planned = world.behaviours.get(name) ?? []
    const behaviour = planned.length > 1 ? planned.shift() : planned[0]
    world.log.push(name)
    world.fences.push(run.fence)
    switch (behaviour ?? "works") {
      case "works":
        return apply(world.rows)
      case "fails":
        return yield* new Refused({ store, transient: false, applied: false })
      case "failsApplied":
        apply(world.rows)
        return yield* new Refused({ store, transient: false, applied: true })
      case "transient":
        return yield* new Refused({ store, transient: true, applied: false })
      case "hangs":
        apply(world.rows)
        return yield* Effect.never
      case "dies":
        return yield* Effect.die(new Error(`${store} crashed`))
    }
  })

export const Doc = Schema.Struct({ id: Schema.String, text: Schema.String })

const storeStep = <const Name extends string>(name: Name) =>
  Step.make(name, {
    input: Doc,
    before: Schema.Option(Schema.String),
    output: Schema.String,
    error: Refused,
    dependency: name,
    isTransient: (error) => error.transient,
    notApplied: (error) => !error.applied,
    rollback: "delete",
    prepare: (doc) => Effect.map(World, (world) => Option.fromNullishOr(world.rows.get(`${name}:${doc.id}`))),
    execute: (doc) =>
      Effect.as(
        act(name, name, (rows) => rows.set(`${name}:${doc.id}`, doc.text)),
        `${name}-${doc.id}`
      ),
    compensate: (doc, { before }) =>
      act(`undo ${name}`, name, (rows) =>
        Option.match(before, {
          onNone: () => rows.delete(`${name}:${doc.id}`),
          onSome: (text) => rows.set(`${name}:${doc.id}`, text)
        })
      )
  })

export const a = storeStep("a")
export const b = storeStep("b")
export const c = storeStep("c")
export const notify = Step.retriable("notify", {
  input: Doc,
  error: Refused,
  dependency: "notify",
  isTransient: (error) => error.transient,
  execute: (doc) => act("notify", "notify", (rows) => rows.set(`notify:${doc.id}`, doc.text))
})

export const write = Saga.make("Write", {
  payload: Doc,
  success: Schema.String,
  error: Refused,
  resource: (doc) => doc.id,
  steps: [a, b, c, notify],
  run: Effect.fn(function* (doc) {
    yield* a(doc)
    yield* b(doc)
    const last = yield* c(doc)
    yield* notify(doc)
    return last
  })
})

export const writeParallel = Saga.make("WriteParallel", {
  payload: Doc,
  error: Refused,
  resource: (doc) => doc.id,
  steps: [a, b, c],
  run: (doc) => Effect.asVoid(Effect.all([a(doc), b(doc), c(doc)], { concurrency: "unbounded" }))
})
