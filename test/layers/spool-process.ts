/** A process with a dead-letter queue and both spools: it drains, adds when told to, and is killed by its test. */
import { PgClient } from "@effect/sql-pg"
import { Context, DateTime, Effect, Layer, Redacted, References } from "effect"
import * as Redis from "effect/persistence/Redis"
import { DeadLetterQueue, IoRedis, type NewDeadLetter } from "../../src/index.ts"
import { makeFileSpool } from "../../src/layers/spool/FileSpool.ts"
import { makeRedisSpool } from "../../src/layers/spool/RedisSpool.ts"
import * as SqlDeadLetterQueue from "../../src/layers/sql/SqlDeadLetterQueue.ts"

const [postgres = "", redis = "", folder = ""] = process.argv.slice(2)

const letter = (n: number): NewDeadLetter => ({
  kind: "compensation",
  priority: "high",
  database: "postgres",
  operation: "rollback_delete",
  saga: "Killed",
  sagaVersion: 1,
  sagaId: `${process.pid} ${n}`,
  step: "a",
  call: 0,
  resources: [`${process.pid} ${n}`],
  fence: n,
  input: "x".repeat(2000),
  before: null,
  output: null,
  errorType: "Refused",
  errorMessage: "no",
  metadata: {},
  dueAt: DateTime.makeUnsafe(0)
})

const program = Effect.gen(function* () {
  const client = Context.get(yield* Layer.build(IoRedis.layerUrl(redis)), Redis.Redis)
  const services = yield* Layer.build(
    SqlDeadLetterQueue.layerWith({ spools: [makeRedisSpool(client), makeFileSpool(folder)] }).pipe(
      Layer.provide(PgClient.layer({ url: Redacted.make(postgres), maxConnections: 4 }))
    )
  )
  const queue = Context.get(services, DeadLetterQueue)
  process.on("message", () => {
    Effect.runFork(
      Effect.forEach(
        Array.from({ length: 10_000 }, (_, n) => n),
        (n) => Effect.map(queue.add(letter(n)), (id) => process.send?.(id)),
        { concurrency: 4, discard: true }
      ).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
    )
  })
  process.send?.("ready")
  yield* Effect.never
})

process.on("disconnect", () => process.exit(0))
await Effect.runPromise(Effect.scoped(Effect.provideService(program, References.MinimumLogLevel, "None")))
