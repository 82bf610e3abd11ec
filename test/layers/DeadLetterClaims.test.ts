import { PgClient } from "@effect/sql-pg"
import { describe } from "@effect/vitest"
import { Layer, Redacted } from "effect"
import * as MemoryDeadLetterQueue from "../../src/layers/memory/MemoryDeadLetterQueue.ts"
import * as PgliteClient from "../../src/layers/sql/PgliteClient.ts"
import * as SqlDeadLetterQueue from "../../src/layers/sql/SqlDeadLetterQueue.ts"
import { deadLetterClaims } from "../contract/DeadLetterClaims.ts"
import { servers } from "../servers/inject.ts"

deadLetterClaims("memory", MemoryDeadLetterQueue.layer)
deadLetterClaims("PGlite", SqlDeadLetterQueue.layer.pipe(Layer.provide(PgliteClient.layer)))

const { postgres } = servers()
describe.skipIf(postgres === null)("real PostgreSQL", () => {
  deadLetterClaims(
    "PostgreSQL",
    SqlDeadLetterQueue.layer.pipe(
      Layer.provide(PgClient.layer({ url: Redacted.make(postgres ?? ""), maxConnections: 8 })),
      Layer.orDie
    ),
    1000
  )
})
