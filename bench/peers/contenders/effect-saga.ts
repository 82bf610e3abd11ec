import { contender } from "../Contender.ts"

export const name = "effect-saga"
export const { ingest, ingestFailing, setup, teardown } = contender("none")
