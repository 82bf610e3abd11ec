import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import * as Redis from "effect/persistence/Redis"
import { IoRedis, RedisJournal, SagaJournal } from "effect-saga"
import * as MemoryJournal from "../../src/layers/memory/MemoryJournal.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import * as SqlJournal from "../../src/layers/sql/SqlJournal.ts"
import { own, sagaJournalContract, sagaOn, T } from "../contract/SagaJournalContract.ts"
import { servers } from "../servers/inject.ts"

sagaJournalContract("memory", MemoryJournal.layer)
sagaJournalContract("PGlite", SqlJournal.layer.pipe(Layer.provide(PgliteClient.layer)))

const { postgres, redis } = servers()
describe.skipIf(redis === null)("real Redis", () => {
  sagaJournalContract("Redis", RedisJournal.layer.pipe(Layer.provide(IoRedis.layerUrl(redis ?? ""))))
  const prefixed = IoRedis.layerUrl(redis ?? "", { keyPrefix: "prefixed:" })
  sagaJournalContract("Redis with a prefix", RedisJournal.layer.pipe(Layer.provide(prefixed)))

  it.live("forgets in its index, now and then, what has expired", () => {
    // In a database of its own: what is short-lived here is not there.
    const client = IoRedis.layerUrl(`${redis}/7`)
    return Effect.gen(function* () {
      const { send } = yield* Redis.Redis
      const journal = yield* SagaJournal
      let known = 0
      for (let ended = 0; ended < 10_000; ended++) {
        const saga = sagaOn([own("r")])
        assert.deepStrictEqual(yield* journal.open(saga), [])
        assert.isTrue(yield* journal.close(saga, T, [], { outcome: "undone", result: null }))
        const before = known
        known = yield* send<number>("ZCARD", "dtx:journals")
        if (known <= before) return
      }
      assert.fail("none was forgotten")
    }).pipe(Effect.provide(Layer.provideMerge(RedisJournal.layerWith({ retention: "1 millis" }), client)))
  })
})

describe.skipIf(postgres === null)("real PostgreSQL", () => {
  sagaJournalContract(
    "PostgreSQL",
    SqlJournal.layer.pipe(Layer.provide(PgClient.layer({ url: Redacted.make(postgres ?? "") })), Layer.orDie)
  )
})
