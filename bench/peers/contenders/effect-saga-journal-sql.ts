import { contender } from "../Contender.ts"

export const name = "effect-saga-journal-sql"
export const { ingest, ingestFailing, setup, teardown } = contender("sql")
