import { PgClient } from "@effect/sql-pg"
import { describe } from "@effect/vitest"
import { Layer, Redacted } from "effect"
import { IoRedis, RedisJournal } from "effect-saga"
import * as MemoryJournal from "../../src/layers/memory/MemoryJournal.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import * as SqlJournal from "../../src/layers/sql/SqlJournal.ts"
import { sagaJournalContract } from "../contract/SagaJournalContract.ts"
import { servers } from "../servers/inject.ts"

sagaJournalContract("memory", MemoryJournal.layer)
sagaJournalContract("PGlite", SqlJournal.layer.pipe(Layer.provide(PgliteClient.layer)))

const { postgres, redis } = servers()
describe.skipIf(redis === null)("real Redis", () => {
  sagaJournalContract("Redis", RedisJournal.layer.pipe(Layer.provide(IoRedis.layerUrl(redis ?? ""))))
})

describe.skipIf(postgres === null)("real PostgreSQL", () => {
  sagaJournalContract(
    "PostgreSQL",
    SqlJournal.layer.pipe(Layer.provide(PgClient.layer({ url: Redacted.make(postgres ?? "") })), Layer.orDie)
  )
})
