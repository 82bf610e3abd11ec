import { Effect, Option, Schema } from "effect"
import { DeadLetterQueue, Saga, SagaMemory, Step } from "effect-saga"

const Page = Schema.Struct({ path: Schema.String, text: Schema.String })
const pages = new Map([["/home", "old"]])

const write = Step.make("pages.write", {
  input: Page,
  before: Schema.Option(Schema.String),
  dependency: "postgres",
  rollback: "restore",
  prepare: ({ path }) => Effect.sync(() => Option.fromUndefinedOr(pages.get(path))),
  execute: ({ path, text }) => Effect.sync(() => void pages.set(path, text)),
  compensate: ({ path }, { before }) =>
    Effect.sync(() =>
      Option.match(before, { onNone: () => void pages.delete(path), onSome: (text) => void pages.set(path, text) })
    )
})

class TooLong extends Schema.TaggedError<TooLong>()("TooLong", { limit: Schema.Int }) {}
class Busy extends Schema.TaggedError<Busy>()("Busy", {}) {}

const jobs = new Map<string, string>()
let translatorIsDown = false

const translate = Step.make("translator.order", {
  input: Page,
  output: Schema.String,
  error: Schema.Union([TooLong, Busy]),
  isTransient: (error) => error._tag === "Busy",
  notApplied: (error) => error._tag === "TooLong",
  execute: ({ path, text }) =>
    text.length > 20
      ? Effect.fail(new TooLong({ limit: 20 }))
      : Effect.sync(() => {
          jobs.set(path, text)
          return `job of ${path}`
        }),
  compensate: ({ path }) =>
    Effect.suspend(() => (translatorIsDown ? Effect.fail(new Busy()) : Effect.sync(() => void jobs.delete(path))))
})

class Offline extends Schema.TaggedError<Offline>()("Offline", {}) {}
class Rejected extends Schema.TaggedError<Rejected>()("Rejected", { path: Schema.String }) {}

const announce = Step.retriable("search.announce", {
  input: Schema.String,
  error: Offline,
  dependency: "search",
  execute: (path) => (path === "/hidden" ? Effect.fail(new Offline()) : Effect.void)
})

const publish = Saga.make("Publish", {
  payload: Page,
  success: Schema.String,
  error: Schema.Union([TooLong, Busy, Rejected]),
  resource: ({ path }) => `page:${path}`,
  steps: [write, translate, announce],
  run: Effect.fn(function* (page) {
    yield* write(page)
    const job = yield* translate(page)
    if (page.text === "spam") return yield* new Rejected({ path: page.path })
    yield* announce(page.path)
    return job
  })
})

const attempt = (path: string, text: string) =>
  publish.executeReceipt({ path, text }).pipe(
    Effect.map(({ parked, value }) => `${value}, ${parked.length} parked`),
    Effect.catchTags({
      TooLong: ({ limit }) => Effect.succeed(`at most ${limit} characters`),
      Rejected: () => Effect.succeed("nothing happened"),
      CompensationError: ({ failures }) => Effect.succeed(`left over: ${failures.map(({ step }) => step).join()}`)
    })
  )

const letters = Effect.gen(function* () {
  const waiting = yield* (yield* DeadLetterQueue).list({ status: "pending" })
  return waiting.map(({ kind, operation, step }) => `${kind} ${operation} of ${step}`)
})

const story = Effect.gen(function* () {
  console.log(yield* attempt("/home", "new")) // job of /home, 0 parked
  console.log(yield* attempt("/home", "longer than the translator takes"), pages.get("/home")) // at most 20 characters new
  console.log(yield* attempt("/home", "spam"), pages.get("/home")) // nothing happened new
  console.log(yield* attempt("/hidden", "text")) // job of /hidden, 1 parked
  translatorIsDown = true
  console.log(yield* attempt("/home", "spam"), pages.get("/home")) // left over: translator.order new
  console.log((yield* letters).join("; ")) // retriable retriable of search.announce; compensation rollback_undo of translator.order
})

await Effect.runPromise(Effect.provide(story, SagaMemory.layerWith({ retries: false })))
