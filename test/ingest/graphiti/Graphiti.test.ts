/** What Graphiti does to a saga when it refuses, breaks, hangs, loses replies or stores late; in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, ConfigProvider, Effect, Fiber, Layer } from "effect"
import { HttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { DeadLetterQueue, Saga, SagaMemory } from "effect-saga"
import {
  type Document,
  DocumentStore,
  GraphitiKnowledgeGraph,
  Ingest,
  KnowledgeGraph,
  MemoryStores,
  StoreError
} from "effect-saga/ingest"
import { as, documentOf } from "../../contract/StoreContract.ts"
import { type Behaviour, Graphiti, layerInFiber } from "./GraphitiServer.ts"

const graphiti = GraphitiKnowledgeGraph.layer({ url: "http://graphiti" }).pipe(Layer.provideMerge(layerInFiber))
const world = (retries: boolean) => Layer.mergeAll(SagaMemory.layerWith({ retries }), MemoryStores.layer, graphiti)
const ingest = Ingest.make({ knowledgeGraph: true })
const remove = Ingest.makeRemove({ knowledgeGraph: true })

/** Turns the clock for as long as it takes; bodies arrive in real time. */
const turning = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect)
    while (fiber.pollUnsafe() === undefined) {
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      yield* TestClock.adjust("100 millis")
    }
    return yield* Fiber.join(fiber)
  })
const behave = (method: "GET" | "POST" | "DELETE", ...behaviours: ReadonlyArray<Behaviour>) =>
  Effect.map(Graphiti, (server) => {
    server.behaviours[method].splice(0, 100, ...behaviours)
  })
const known = (document: Document) => Effect.flatMap(KnowledgeGraph, (graph) => turning(graph.episodes(document.uuid)))
const letters = Effect.flatMap(DeadLetterQueue, (queue) =>
  Effect.map(queue.list(), (all) => all.map(({ kind, operation }) => [kind, operation]))
)
const verify = ["verify", "rollback_delete"]
const add = (document: Document) => Effect.flatMap(KnowledgeGraph, (graph) => graph.add(document).pipe(as("s1", 1)))
const posts = Effect.map(Graphiti, ({ served }) => served.filter((method) => method === "POST").length)
const failing = (document: Document) =>
  Effect.map(turning(Effect.flip(ingest.execute(document))), (error) => {
    assert.instanceOf(error, StoreError)
    return error
  })

describe("Graphiti, asked to add,", () => {
  for (const [behaviour, transient, applied] of [
    ["refuses", false, "no"],
    ["busy", true, "no"],
    ["breaks", true, "unknown"],
    ["drops", true, "unknown"],
    ["never stores", false, "unknown"]
  ] as const) {
    it.effect(`${behaviour}: the error knows whether to try again and what may have happened`, () =>
      Effect.gen(function* () {
        yield* behave("POST", behaviour)
        const document = documentOf("text")
        const error = yield* failing(document)
        assert.deepStrictEqual([error.store, error.transient, error.applied], ["graphiti", transient, applied])
        assert.strictEqual((yield* (yield* DocumentStore).find(document.uuid))._tag, "None", "the others are undone")
        assert.deepStrictEqual(yield* letters, applied === "no" ? [] : [verify])
      }).pipe(Effect.provide(world(false)))
    )
  }

  it.effect("cannot be read: nothing was posted, so nothing is to be undone", () =>
    Effect.gen(function* () {
      yield* behave("GET", "breaks")
      const error = yield* failing(documentOf("text"))
      assert.deepStrictEqual([error.transient, error.applied], [true, "no"])
      assert.deepStrictEqual([yield* posts, yield* letters], [0, []])
    }).pipe(Effect.provide(world(false)))
  )

  it.effect("accepts, and refuses to be read afterwards: the episode is taken away once it can be seen", () =>
    Effect.gen(function* () {
      yield* behave("GET", "works", "refuses", "works")
      const document = documentOf("text")
      const error = yield* failing(document)
      assert.deepStrictEqual([error.transient, error.applied], [false, "unknown"])
      yield* turning(Effect.sleep("1 second"))
      assert.strictEqual((yield* known(document)).length, 1, "it appeared after its undo")
      assert.deepStrictEqual(yield* letters, [verify])
      const [letter] = yield* (yield* DeadLetterQueue).list()
      yield* turning(Saga.redrive([ingest]).one(letter?.id ?? ""))
      assert.deepStrictEqual(yield* known(document), [])
    }).pipe(Effect.provide(world(false)))
  )

  it.effect("never answers: the step's limit ends it, and the letter is due after that limit", () =>
    Effect.gen(function* () {
      yield* behave("POST", "hangs")
      const error = yield* turning(Effect.flip(ingest.execute(documentOf("text"))))
      assert.strictEqual(error._tag, "StepTimeout")
      const [letter] = yield* (yield* DeadLetterQueue).list()
      assert.deepStrictEqual([letter?.kind, letter?.database, letter?.priority], ["verify", "graphiti", "high"])
      const wait = (letter?.dueAt.epochMilliseconds ?? 0) - (letter?.createdAt.epochMilliseconds ?? 0)
      assert.strictEqual(wait, 60_000)
    }).pipe(Effect.provide(world(false)))
  )

  it.effect("is busy for a while: asked again, it takes the episode once", () =>
    Effect.gen(function* () {
      yield* behave("POST", "busy", "busy", "works")
      const document = documentOf("text")
      yield* turning(ingest.execute(document))
      assert.strictEqual((yield* known(document)).length, 1)
      assert.strictEqual(yield* posts, 1)
    }).pipe(Effect.provide(world(true)))
  )

  it.effect("takes half a minute to store: the saga waits", () =>
    Effect.gen(function* () {
      const server = yield* Graphiti
      server.delay = 30_000
      const document = documentOf("text")
      yield* turning(ingest.execute(document))
      assert.strictEqual(server.episodes.length, 1)
      assert.strictEqual(yield* posts, 1)
    }).pipe(Effect.provide(world(true)))
  )

  it.effect("does not store within its patience: it is given up, and not posted again", () =>
    Effect.gen(function* () {
      yield* behave("POST", "never stores")
      const began = yield* Clock.currentTimeMillis
      yield* failing(documentOf("text"))
      const took = (yield* Clock.currentTimeMillis) - began
      assert.isTrue(took >= 50_000 && took < 55_000, `took ${took} ms`)
      assert.strictEqual(yield* posts, 1)
      const looks = (yield* Graphiti).served.filter((method) => method === "GET").length
      assert.isTrue(looks > 10 && looks < 35, `looked ${looks} times`)
    }).pipe(Effect.provide(world(true)))
  )

  it.effect("loses the reply: the repeated call finds its episode and adds none", () =>
    Effect.gen(function* () {
      yield* behave("POST", "hangs", "works")
      const document = documentOf("once")
      yield* turning(Effect.timeoutOption(add(document), "1 second"))
      yield* turning(add(document))
      assert.deepStrictEqual([(yield* known(document)).length, yield* posts], [1, 1])
    }).pipe(Effect.provide(graphiti))
  )

  it.effect("loses the reply and stores late: of the two only one is left once they can be seen", () =>
    Effect.gen(function* () {
      const server = yield* Graphiti
      server.delay = 5_000
      yield* behave("POST", "drops", "works")
      const document = documentOf("twice")
      yield* turning(Effect.flip(add(document)))
      server.delay = 10_000
      yield* turning(add(document))
      yield* turning(Effect.sleep("15 seconds"))
      assert.strictEqual(server.episodes.length, 2)
      yield* turning(add(document))
      assert.strictEqual(server.episodes.length, 1)
    }).pipe(Effect.provide(graphiti))
  )

  it.effect("breaks three times: its breaker opens for two minutes, and nothing is asked meanwhile", () =>
    Effect.gen(function* () {
      yield* behave("POST", "breaks")
      const error = yield* turning(Effect.flip(ingest.execute(documentOf("a"))))
      assert.strictEqual(error._tag, "CompensationError")
      const [letter] = yield* (yield* DeadLetterQueue).list()
      assert.deepStrictEqual([letter?.kind, letter?.operation], ["compensation", "rollback_delete"])
      const wait = (letter?.dueAt.epochMilliseconds ?? 0) - (letter?.createdAt.epochMilliseconds ?? 0)
      assert.isTrue(wait > 110_000 && wait <= 120_000, `due in ${wait} ms`)
      yield* behave("POST", "works")
      const asked = (yield* Graphiti).served.length
      const rejected = yield* turning(Effect.flip(ingest.execute(documentOf("b"))))
      assert.strictEqual(rejected._tag, "CircuitBreakerError")
      assert.strictEqual((yield* Graphiti).served.length, asked)
      yield* turning(Effect.sleep("120 seconds"))
      yield* turning(ingest.execute(documentOf("c")))
    }).pipe(Effect.provide(world(true)))
  )
})

describe("Graphiti, asked to remove,", () => {
  it.effect("refuses after the first: the error says that something may be gone, and it is put back", () =>
    Effect.gen(function* () {
      const first = documentOf("first")
      yield* turning(ingest.execute(first))
      yield* turning(ingest.execute(documentOf("second", first.uuid)))
      const before = yield* known(first)
      assert.strictEqual(before.length, 2)
      yield* behave("DELETE", "works", "refuses")
      const error = yield* turning(Effect.flip(remove.execute({ uuid: first.uuid })))
      assert.instanceOf(error, StoreError)
      assert.deepStrictEqual([error.store, error.applied], ["graphiti", "unknown"])
      assert.deepStrictEqual(yield* known(first), before, "with the content and time it had")
    }).pipe(Effect.provide(world(false)))
  )

  it.effect("refuses the first: nothing is gone, and nothing is put back", () =>
    Effect.gen(function* () {
      const document = documentOf("only")
      yield* turning(ingest.execute(document))
      const asked = yield* posts
      yield* behave("DELETE", "refuses")
      const error = yield* turning(Effect.flip(remove.execute({ uuid: document.uuid })))
      assert.instanceOf(error, StoreError)
      assert.strictEqual(error.applied, "no")
      assert.deepStrictEqual([(yield* known(document)).length, yield* posts, yield* letters], [1, asked, []])
    }).pipe(Effect.provide(world(false)))
  )

  it.effect("is elsewhere: what answers 404 to a list is no Graphiti without episodes", () =>
    Effect.gen(function* () {
      const graph = yield* KnowledgeGraph
      const error = yield* turning(Effect.flip(graph.episodes(documentOf("text").uuid)))
      assert.deepStrictEqual([error.reason._tag, error.transient], ["Rejected", false])
    }).pipe(
      Effect.provide(
        GraphitiKnowledgeGraph.layer({ url: "http://graphiti/elsewhere" }).pipe(Layer.provide(layerInFiber))
      )
    )
  )
})

describe("Graphiti, from the environment,", () => {
  const from = (env: Record<string, string>) => {
    const asked: Array<readonly [string, string | undefined]> = []
    const spying = Layer.effect(
      HttpClient.HttpClient,
      Effect.map(HttpClient.HttpClient, (client) =>
        HttpClient.make((request) => {
          asked.push([request.url, request.headers.authorization])
          return client.execute(request)
        })
      )
    ).pipe(Layer.provide(layerInFiber))
    const graph = GraphitiKnowledgeGraph.layerConfig.pipe(
      Layer.provide([spying, ConfigProvider.layer(ConfigProvider.fromEnv({ env }))])
    )
    return { asked, graph }
  }

  it.effect("has an address, a group and a key", () =>
    Effect.gen(function* () {
      const env = { GRAPHITI_URL: "http://graphiti/", GRAPHITI_GROUP: "team", GRAPHITI_API_KEY: "secret" }
      const { asked, graph } = from(env)
      yield* turning(add(documentOf("text"))).pipe(Effect.provide(graph))
      assert.deepStrictEqual(asked[0], ["http://graphiti/episodes/team", "Bearer secret"])
      assert.deepStrictEqual(asked[1], ["http://graphiti/messages", "Bearer secret"])
    })
  )

  it.effect("fails without an address", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.build(from({}).graph))
      assert.include(error.message, "GRAPHITI_URL")
    })
  )
})
