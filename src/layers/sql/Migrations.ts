/** The numbered SQL files of `migrations/`, applied once each, in order; safe for many processes at once. */
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import * as Migrator from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

const folder = new URL("../../../migrations/", import.meta.url)

/** Statements end with a semicolon at the end of a line, outside of `$$` bodies. */
const statements = (text: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  let statement = ""
  for (const line of text.split("\n")) {
    if (statement.trim() === "" && (line.trim() === "" || line.startsWith("--"))) continue
    statement += `${line}\n`
    const inBody = statement.split("$$").length % 2 === 0
    if (!inBody && line.trimEnd().endsWith(";")) {
      found.push(statement)
      statement = ""
    }
  }
  if (statement.trim() !== "") found.push(statement)
  return found
}

const apply = (file: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient
    for (const statement of statements(readFileSync(fileURLToPath(new URL(file, folder)), "utf8"))) {
      yield* sql.unsafe(statement)
    }
  })

const loader = Migrator.fromRecord(
  Object.fromEntries(
    readdirSync(folder)
      .filter((file) => /^\d+_\w+\.sql$/.test(file))
      .sort()
      .map((file) => [file.replace(/\.sql$/, ""), apply(file)])
  )
)

/** Brings the database to the version of this package. */
export const migrate: Effect.Effect<void, SqlError | Migrator.MigrationError, SqlClient> = Effect.asVoid(
  Migrator.make({})({ table: "effect_saga_migrations", loader })
)
