/** The scenes of the demo: each shows one behaviour and says whether it held. */
import { Clock, type Context, Duration, Effect, Fiber, Option, Stream } from "effect"
import { CircuitBreakers, DeadLetterQueue, SagaSettings } from "../../src/index.ts"
import {
  Document,
  GraphStore,
  ingestDocument,
  type Store,
  StoreError,
  Unavailable,
  VectorStore
} from "../../src/ingest/index.ts"
import { Ids } from "../../src/services/Ids.ts"
import { picture, whereIs, wholeOrAbsent } from "./Picture.ts"

export interface Show {
  readonly say: (line: string) => Effect.Effect<void>
  readonly check: (held: boolean, what: string) => Effect.Effect<void>
}

const fresh = (title: string) =>
  Effect.gen(function* () {
    const uuid = yield* (yield* Ids).next
    return new Document({
      uuid,
      title,
      body: title.repeat(50),
      embedding: [0.1, 0.2, 0.3, 0.4],
      links: [],
      metadata: {}
    })
  })

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const since = clock.currentTimeNanosUnsafe()
    const value = yield* effect
    return [value, Number(clock.currentTimeNanosUnsafe() - since) / 1e6] as const
  })

const down = (store: StoreError["store"]) =>
  Effect.fail(
    new StoreError({
      store,
      operation: "answer",
      transient: true,
      applied: "no",
      reason: new Unavailable({ cause: new Error("switched off for the demo") })
    })
  )

const withStore =
  <Self>(tag: Context.Service<Self, Store>, change: Partial<Store>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(tag, (store) => Effect.provideService(effect, tag, { ...store, ...change }))

/** Retries after seconds are right in production and dull in a demo. */
const impatient = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(SagaSettings, (settings) =>
    Effect.provideService(effect, SagaSettings, { ...settings, retries: false })
  )

export const firstAndRepeat = Effect.fnUntraced(function* ({ check, say }: Show) {
  yield* ingestDocument.execute(yield* fresh("warm-up"))
  const document = yield* fresh("first write")
  const [first, firstWriteMs] = yield* timed(ingestDocument.executeReceipt(document))
  const [second, repeatMs] = yield* timed(ingestDocument.executeReceipt(document))
  yield* say(`  first write ${firstWriteMs.toFixed(2)} ms, repeat ${repeatMs.toFixed(2)} ms`)
  yield* say(yield* picture([document]))
  yield* check(!first.replayed && second.replayed, "the repeat got the recorded result and nothing ran")
  return { firstWriteMs, repeatMs }
})

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

export const race = Effect.fnUntraced(function* ({ check, say }: Show) {
  const clock = yield* Clock.Clock
  const waits: Array<number> = []
  let executions = 0
  for (let round = 0; round < 10; round++) {
    const document = yield* fresh(`raced ${round}`)
    const ended = yield* Effect.all(
      Array.from({ length: 3 }, () =>
        Effect.map(ingestDocument.executeReceipt(document), (receipt) => ({
          replayed: receipt.replayed,
          at: Number(clock.currentTimeNanosUnsafe()) / 1e6
        }))
      ),
      { concurrency: "unbounded" }
    )
    const result = ended.find((one) => !one.replayed)?.at ?? 0
    executions += ended.filter((one) => !one.replayed).length
    waits.push(...ended.filter((one) => one.replayed).map((one) => Math.max(0, one.at - result)))
  }
  const waiterMs = median(waits)
  yield* say(
    `  10 races of 3 writers: ${executions} executions; waiters had the result ${waiterMs.toFixed(2)} ms after it`
  )
  yield* check(executions === 10, "of three simultaneous writers one wrote")
  return waiterMs
})

export const compensation = Effect.fnUntraced(function* ({ check, say }: Show) {
  const document = yield* fresh("compensated")
  const error = yield* Effect.flip(
    impatient(ingestDocument.execute(document).pipe(withStore(VectorStore, { upsert: () => down("qdrant") })))
  )
  yield* say(`  qdrant refused: ${error.message}`)
  yield* say(yield* picture([document]))
  const absent = (yield* whereIs(document.uuid)).every(Option.isNone)
  yield* check(absent, "what the other stores had written is undone")
  return absent ? 1 : 0
})

export const deadLetter = Effect.fnUntraced(function* ({ check, say }: Show) {
  const document = yield* fresh("stuck")
  const error = yield* Effect.flip(
    impatient(
      ingestDocument
        .execute(document)
        .pipe(
          withStore(GraphStore, { restore: () => down("neo4j") }),
          withStore(VectorStore, { upsert: () => down("qdrant") })
        )
    )
  )
  yield* say(yield* picture([document]))
  const failures = error._tag === "CompensationError" ? error.failures : []
  const queue = yield* DeadLetterQueue
  for (const failure of failures) {
    const letter = yield* queue.get(failure.deadLetterId)
    yield* say(
      `  dead letter ${letter.id}: ${letter.operation} in ${letter.database}, ${letter.priority}: ${letter.errorMessage}`
    )
  }
  yield* check(failures.length === 1, "the node that could not be undone is explained by a dead letter")
  return failures.length
})

export const breaker = Effect.fnUntraced(function* ({ check, say }: Show, openFor: Duration.Duration) {
  const breakers = yield* CircuitBreakers
  const states: Array<string> = ["Closed"]
  const watcher = yield* Effect.forkChild(
    Stream.runForEach(breakers.transitions, (transition) =>
      Effect.sync(() => {
        if (transition.key === "qdrant") states.push(transition.to)
      })
    ),
    { startImmediately: true }
  )
  yield* breakers.reset("qdrant")
  const failing = withStore(VectorStore, { upsert: () => down("qdrant") })
  for (let i = 0; i < 5; i++) {
    yield* Effect.flip(impatient(ingestDocument.execute(yield* fresh(`failure ${i}`)).pipe(failing)))
  }
  const rejected = yield* Effect.flip(impatient(ingestDocument.execute(yield* fresh("rejected"))))
  yield* Effect.sleep(Duration.sum(openFor, Duration.millis(50)))
  yield* ingestDocument.execute(yield* fresh("after"))
  yield* Effect.yieldNow
  yield* Fiber.interrupt(watcher)
  yield* say(`  qdrant's breaker: ${states.join(" → ")}`)
  yield* check(
    rejected._tag === "CircuitBreakerError" && states.join() === "Closed,Open,HalfOpen,Closed",
    "five failures opened the breaker; after its pause a probe closed it"
  )
  return states
})

/** One round: 20 operations at once on 12 documents, then 20 fresh documents one after another. */
const mixRound = Effect.gen(function* () {
  const unique = yield* Effect.forEach(Array.from({ length: 10 }), (_, i) => fresh(`unique ${i}`))
  const [duplicated, contended] = [yield* fresh("duplicated"), yield* fresh("contended")]
  const work = [
    ...unique,
    ...Array.from({ length: 5 }, () => duplicated),
    ...Array.from({ length: 5 }, () => contended)
  ]
  const [exits, totalMs] = yield* timed(
    Effect.forEach(work, (document) => Effect.result(ingestDocument.executeReceipt(document)), {
      concurrency: "unbounded"
    })
  )
  const serial = yield* Effect.forEach(Array.from({ length: 20 }), (_, i) => fresh(`serial ${i}`))
  const [, serialMs] = yield* timed(
    Effect.forEach(serial, (document) => ingestDocument.execute(document), { discard: true })
  )
  const documents = [...unique, duplicated, contended]
  const whole = yield* Effect.forEach(documents, wholeOrAbsent)
  return {
    documents,
    found: whole.filter(Boolean).length,
    executed: exits.filter((exit) => exit._tag === "Success" && !exit.success.replayed).length,
    failed: exits.filter((exit) => exit._tag === "Failure").length,
    operations: work.length,
    totalMs,
    serialMs
  }
})

const ROUNDS = 7

export const mix = Effect.fnUntraced(function* ({ check, say }: Show) {
  // Both measurements find the program and the servers warm.
  yield* mixRound
  const rounds = yield* Effect.forEach(Array.from({ length: ROUNDS }), () => mixRound)
  const [first = yield* mixRound] = rounds
  const totalMs = median(rounds.map((round) => round.totalMs))
  const serialMs = median(rounds.map((round) => round.serialMs))
  const worst = (count: (round: typeof first) => number) => Math.max(...rounds.map(count))
  const found = Math.min(...rounds.map((round) => round.found))
  const duplicates = worst((round) => round.executed - round.documents.length)
  const failed = worst((round) => round.failed)
  yield* say(yield* picture(first.documents))
  yield* say(
    `  20 at once ${totalMs.toFixed(1)} ms; 20 one after another ${serialMs.toFixed(1)} ms (medians of ${ROUNDS} rounds)`
  )
  yield* check(
    found === 12 && duplicates === 0 && failed === 0,
    "12 documents, each written once, whole in every store, in every round"
  )
  return {
    operations: first.operations,
    documents: found,
    duplicates,
    failed,
    totalMs,
    serialMs,
    speedup: serialMs / totalMs
  }
})

/** Breakers with a pause that a demo can wait for. */
export const demoPause = Duration.millis(500)
