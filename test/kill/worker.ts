/** One process of the kill test: executes what it is asked for, recovers what others left, and kills itself when armed. */
import { PgClient } from "@effect/sql-pg"
import { Cause, Context, Effect, Exit, Layer, Redacted, References, Schedule } from "effect"
import {
  DeadLetterWorker,
  IoRedis,
  Neo4jDriver,
  QdrantRest,
  SagaLive,
  SagaProbe,
  SagaRecovery
} from "../../src/index.ts"
import {
  Document,
  ingestDocument,
  Neo4jGraphStore,
  PostgresDocumentStore,
  QdrantVectorStore,
  RedisDocumentCache,
  removeDocument
} from "../../src/ingest/index.ts"
import type { FromWorker, Request, Servers, ToWorker } from "./Messages.ts"

const servers: Servers = JSON.parse(process.env.SERVERS ?? "{}")
const tell = (message: FromWorker) => process.send?.(message)

/** Sagas that have written and not ended yet. */
const writing = new Set<string>()
let fuse: number | undefined

/** Between a first write and a commit: here the process dies, as hard as it can. */
const burn = Effect.sync(() => {
  if (fuse !== undefined && writing.size > 0 && fuse-- <= 0) process.kill(process.pid, "SIGKILL")
})

const probe: SagaProbe = ({ kind, sagaId, step }, effect) =>
  kind === "prepare" || step === "redis.evict"
    ? effect
    : Effect.andThen(
        burn,
        Effect.tap(effect, () =>
          Effect.andThen(
            Effect.sync(() => writing.add(sagaId)),
            burn
          )
        )
      )

const sagas = [ingestDocument, removeDocument] as const
const stores = Layer.mergeAll(
  PostgresDocumentStore.layer,
  RedisDocumentCache.layer,
  Neo4jGraphStore.layer,
  QdrantVectorStore.layerWith({ size: 4 })
)
const clients = Layer.mergeAll(
  IoRedis.layerUrl(servers.redis),
  Neo4jDriver.layer({ url: servers.neo4j }),
  QdrantRest.layer({ url: servers.qdrant }),
  PgClient.layer({ url: Redacted.make(servers.postgres), maxConnections: 10 })
)
const live = Layer.merge(
  SagaLive.layerWith({
    lease: "2 seconds",
    wait: "10 seconds",
    journal: "sql",
    spoolFolder: process.env.SPOOL_FOLDER ?? ".effect-saga/spool"
  }),
  stores
).pipe(Layer.provideMerge(clients))
const background = Layer.merge(
  SagaRecovery.layer({ sagas, after: "2 seconds", schedule: Schedule.spaced("500 millis") }),
  DeadLetterWorker.layer({ sagas })
)

const execute = ({ title, uuid }: Request) =>
  title === null
    ? removeDocument.executeReceipt({ uuid })
    : ingestDocument.executeReceipt(
        new Document({ uuid, title, body: title, embedding: [1, 0, 0, title.length], links: [], metadata: {} })
      )

const unsure = new Set(["LockLost", "OutcomeUnknown", "JournalError"])

const reasonOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  if (typeof error !== "object" || error === null || !("_tag" in error)) return String(error)
  const reason = "reason" in error ? error.reason : undefined
  return typeof reason === "object" && reason !== null && "_tag" in reason ? `${reason._tag}` : `${error._tag}`
}

const program = Effect.gen(function* () {
  const services = yield* Layer.build(Layer.provideMerge(background, live))
  const context = Context.add(services, SagaProbe, probe)
  process.on("message", (message: ToWorker) => {
    if (message.kind === "arm") {
      fuse = message.events
      return
    }
    const run = Effect.flatMap(Effect.exit(execute(message)), (exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit)) writing.delete(exit.value.sagaId)
        const failure = Exit.isSuccess(exit) ? null : reasonOf(exit.cause)
        tell({ kind: "done", id: message.id, failure, unknown: failure !== null && unsure.has(failure) })
      })
    )
    Effect.runForkWith(context)(Effect.provideService(run, References.MinimumLogLevel, "Fatal"))
  })
  tell({ kind: "ready" })
  yield* Effect.never
})

process.on("disconnect", () => process.exit(0))
await Effect.runPromise(Effect.scoped(Effect.provideService(program, References.MinimumLogLevel, "Fatal")))
