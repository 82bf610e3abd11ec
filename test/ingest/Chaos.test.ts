/**
 * Ingests while servers are killed, hang or forget: each test ends with all four servers running again and read back by
 * plain drivers. The document is whole in all, absent from all or its earlier version in all, or a dead letter explains
 * it.
 */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Redacted, Schedule } from "effect"
import { IoRedis, Neo4jDriver, QdrantRest, SagaLive } from "effect-saga"
import {
  type Document,
  DocumentStore,
  GraphStore,
  ingestDocument,
  Neo4jGraphStore,
  PostgresDocumentStore,
  QdrantVectorStore,
  RedisDocumentCache,
  removeDocument,
  type Store,
  VectorStore
} from "effect-saga/ingest"
import { Redis } from "ioredis"
import { documentOf } from "../contract/StoreContract.ts"
import { explained, readBack } from "../kill/Stores.ts"
import { servers as shared } from "../servers/inject.ts"
import * as Neo4j from "../servers/Neo4j.ts"
import * as Postgres from "../servers/Postgres.ts"
import * as Qdrant from "../servers/Qdrant.ts"
import * as RedisServer from "../servers/Redis.ts"
import type { RunningServer } from "../servers/Server.ts"

type Name = "postgres" | "redis" | "neo4j" | "qdrant"

/** Servers of this file's own: they do not survive it unharmed. */
class Machines extends Context.Service<Machines, Readonly<Record<Name, RunningServer>>>()("test/Machines") {
  static readonly layer = Layer.effect(
    Machines,
    Effect.acquireRelease(
      Effect.promise(async () => {
        const [postgres, redis, neo4j, qdrant] = await Promise.all([
          Postgres.start(),
          RedisServer.start(),
          Neo4j.start(),
          Qdrant.start()
        ])
        return { postgres, redis, neo4j, qdrant }
      }),
      (all) => Effect.promise(() => Promise.all(Object.values(all).map((one) => one.stop())).then(() => {}))
    )
  )
}

const live = Layer.unwrap(
  Effect.gen(function* () {
    const machines = yield* Machines
    const folder = yield* Effect.acquireRelease(
      Effect.promise(() => mkdtemp(join(tmpdir(), "effect-saga-chaos-"))),
      (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
    )
    const clients = Layer.mergeAll(
      IoRedis.layerUrl(machines.redis.url, { commandTimeout: 1000 }),
      Neo4jDriver.layer({ url: machines.neo4j.url }),
      QdrantRest.layer({ url: machines.qdrant.url, timeout: "1 second" }),
      PgClient.layer({ url: Redacted.make(machines.postgres.url), connectTimeout: "1 second" })
    )
    const stores = Layer.mergeAll(
      PostgresDocumentStore.layer,
      RedisDocumentCache.layer,
      Neo4jGraphStore.layer,
      QdrantVectorStore.layerWith({ size: 3 })
    )
    // One failure too many must not open a breaker for the test after it.
    const saga = SagaLive.layerWith({
      breakers: false,
      retries: false,
      lease: "3 seconds",
      wait: "2 seconds",
      spoolFolder: folder
    })
    return Layer.merge(saga, stores).pipe(Layer.provideMerge(clients), Layer.orDie)
  })
).pipe(Layer.provideMerge(Machines.layer))

const kill = (name: Name) => Effect.flatMap(Machines, (all) => Effect.promise(all[name].kill))
const restart = (name: Name) => Effect.flatMap(Machines, (all) => Effect.promise(all[name].restart))
const flush = Effect.flatMap(Machines, ({ redis }) =>
  Effect.promise(async () => {
    const client = new Redis(redis.url)
    await client.flushall()
    client.disconnect()
  })
)
const urls = Effect.map(Machines, ({ neo4j, postgres, qdrant, redis }) => ({
  postgres: postgres.url,
  redis: redis.url,
  neo4j: neo4j.url,
  qdrant: qdrant.url
}))

/** The store does this before it writes. */
const before =
  <Self>(tag: Context.Service<Self, Store>, event: Effect.Effect<void, never, Machines>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const store = yield* tag
      const machines = yield* Machines
      const happens = Effect.provideService(event, Machines, machines)
      return yield* Effect.provideService(effect, tag, {
        ...store,
        upsert: (document) => Effect.andThen(happens, store.upsert(document))
      })
    })

/** Reads all four servers back by plain drivers; yields the title that is in all of them, or that it is explained. */
const whole = Effect.fnUntraced(function* (document: Document, ...possible: ReadonlyArray<string | null>) {
  const at = yield* urls
  const found = (yield* Effect.promise(() => readBack(at, [document.uuid]))).get(document.uuid)
  const { letters } = yield* Effect.promise(() => explained(at.postgres))
  if (letters.includes(document.uuid)) return "explained"
  assert.deepStrictEqual([found?.neo4j, found?.qdrant], [found?.postgres, found?.postgres], "the same in all stores")
  assert.include([null, found?.postgres], found?.redis, "the cache is empty or right")
  assert.include(possible, found?.postgres ?? null)
  return found?.postgres ?? null
})

/** Clients find their way back by themselves. */
const untilServed = (document: Document) =>
  Effect.retry(
    ingestDocument.execute(document),
    Schedule.spaced("250 millis").pipe(Schedule.upTo({ duration: "20 seconds" }))
  )

const { neo4j, postgres, qdrant, redis } = shared()
const available = [neo4j, postgres, qdrant, redis].every((url) => url !== null)

describe.skipIf(!available)("chaos on real servers", () => {
  it.layer(live, { excludeTestServices: true, timeout: 120_000 })((test) => {
    const chaos = (name: string, body: Effect.Effect<void, unknown, Layer.Success<typeof live>>) =>
      test.effect(name, () => body, 90_000)

    chaos(
      "Redis is gone before: nothing is touched, and the error says so",
      Effect.gen(function* () {
        const document = documentOf("v1")
        yield* kill("redis")
        const error = yield* Effect.flip(ingestDocument.execute(document))
        assert.include(["IdempotencyError", "LockError"], error._tag)
        yield* restart("redis")
        assert.isNull(yield* whole(document, null))
        yield* untilServed(document)
        assert.strictEqual(yield* whole(document, "v1"), "v1")
      })
    )

    chaos(
      "Redis is killed between two stores",
      Effect.gen(function* () {
        const document = documentOf("v1")
        const exit = yield* Effect.exit(ingestDocument.execute(document).pipe(before(GraphStore, kill("redis"))))
        yield* restart("redis")
        yield* whole(document, Exit.isSuccess(exit) ? "v1" : null, "v1")
      })
    )

    chaos(
      "Redis forgets everything between two ingests: nobody is locked out",
      Effect.gen(function* () {
        const document = documentOf("v1")
        yield* ingestDocument.execute(document)
        yield* flush
        const receipt = yield* ingestDocument.executeReceipt(documentOf("v2", document.uuid))
        assert.isFalse(receipt.replayed)
        assert.strictEqual(yield* whole(document, "v2"), "v2")
        yield* flush
        yield* removeDocument.execute({ uuid: document.uuid })
        assert.isNull(yield* whole(document, null))
      })
    )

    chaos(
      "Redis forgets everything while a document is written",
      Effect.gen(function* () {
        const v1 = documentOf("v1")
        yield* ingestDocument.execute(v1)
        const exit = yield* Effect.exit(
          ingestDocument.execute(documentOf("v2", v1.uuid)).pipe(before(VectorStore, flush))
        )
        yield* whole(v1, ...(Exit.isSuccess(exit) ? ["v2"] : ["v1"]))
      })
    )

    chaos(
      "PostgreSQL is killed before its write: the error is its own, and nothing stays",
      Effect.gen(function* () {
        const document = documentOf("v1")
        const exit = yield* Effect.exit(ingestDocument.execute(document).pipe(before(DocumentStore, kill("postgres"))))
        assert.isTrue(Exit.isFailure(exit))
        yield* restart("postgres")
        yield* Effect.sleep("6 seconds")
        yield* whole(document, null)
      })
    )

    chaos(
      "PostgreSQL is killed while the others are written: undone, or in a dead letter that waited in the spool",
      Effect.gen(function* () {
        const document = documentOf("v1")
        const failing = before(
          VectorStore,
          Effect.andThen(kill("postgres"), Effect.die(new Error("and Qdrant refuses")))
        )
        const exit = yield* Effect.exit(ingestDocument.execute(document).pipe(failing))
        assert.isTrue(Exit.isFailure(exit))
        yield* restart("postgres")
        yield* Effect.sleep("6 seconds")
        assert.strictEqual(yield* whole(document, null), "explained")
      })
    )

    chaos(
      "Neo4j is killed before its write",
      Effect.gen(function* () {
        const v1 = documentOf("v1")
        yield* ingestDocument.execute(v1)
        const exit = yield* Effect.exit(
          ingestDocument.execute(documentOf("v2", v1.uuid)).pipe(before(GraphStore, kill("neo4j")))
        )
        assert.isTrue(Exit.isFailure(exit))
        yield* restart("neo4j")
        yield* whole(v1, "v1")
      })
    )

    chaos(
      "Qdrant is killed before its write",
      Effect.gen(function* () {
        const v1 = documentOf("v1")
        yield* ingestDocument.execute(v1)
        const exit = yield* Effect.exit(
          ingestDocument.execute(documentOf("v2", v1.uuid)).pipe(before(VectorStore, kill("qdrant")))
        )
        assert.isTrue(Exit.isFailure(exit))
        yield* restart("qdrant")
        yield* whole(v1, "v1")
        yield* untilServed(documentOf("v3", v1.uuid))
        yield* whole(v1, "v3")
      })
    )

    chaos(
      "Qdrant hangs longer than a step may take: the earlier version is back in all",
      Effect.gen(function* () {
        const v1 = documentOf("v1")
        yield* ingestDocument.execute(v1)
        const { qdrant } = yield* Machines
        const pause = Effect.sync(qdrant.pause)
        const resume = Effect.forkDetach(Effect.delay(Effect.sync(qdrant.resume), "3 seconds"))
        const exit = yield* Effect.exit(
          ingestDocument
            .execute(documentOf("v2", v1.uuid))
            .pipe(before(VectorStore, Effect.andThen(pause, Effect.asVoid(resume))))
        )
        assert.isTrue(Exit.isFailure(exit))
        yield* Effect.sleep("4 seconds")
        yield* whole(v1, "v1")
      })
    )

    chaos(
      "every server is restarted between two ingests: clients come back by themselves",
      Effect.gen(function* () {
        const document = documentOf("v1")
        yield* ingestDocument.execute(document)
        for (const name of ["postgres", "redis", "neo4j", "qdrant"] as const) yield* restart(name)
        yield* untilServed(documentOf("v2", document.uuid))
        yield* whole(document, "v2")
      })
    )
  })
})
