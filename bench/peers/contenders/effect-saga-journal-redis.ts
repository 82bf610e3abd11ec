import { contender } from "../Contender.ts"

export const name = "effect-saga-journal-redis"
export const { ingest, ingestFailing, setup, teardown } = contender("redis")
