/**
 * Typed sagas on Effect: one write to several databases, all or nothing, never silent.
 *
 * Importing this module loads no database driver: each layer loads its own when it is built.
 */

export * as Neo4jDriver from "./layers/neo4j/Neo4jDriver.ts"
export * as QdrantRest from "./layers/qdrant/QdrantRest.ts"
export * as IoRedis from "./layers/redis/IoRedis.ts"
export * as SagaLive from "./layers/SagaLive.ts"
export * as SagaMemory from "./layers/SagaMemory.ts"
export * as DeadLetterWorker from "./saga/DeadLetterWorker.ts"
export * as Saga from "./saga/Saga.ts"
export * as SagaRecovery from "./saga/SagaRecovery.ts"
export * as Sagas from "./saga/Sagas.ts"
export * as Step from "./saga/Step.ts"
export * from "./schema/DeadLetter.ts"
export * from "./schema/DeadLetterError.ts"
export * from "./schema/IdempotencyError.ts"
export * from "./schema/Journal.ts"
export * from "./schema/JournalError.ts"
export * from "./schema/LockError.ts"
export * from "./schema/SagaError.ts"
export * from "./services/CircuitBreakers.ts"
export * from "./services/DeadLetterQueue.ts"
export * from "./services/DistributedLock.ts"
export * from "./services/Idempotency.ts"
export * from "./services/Ids.ts"
export { Neo4j, Neo4jError } from "./services/Neo4j.ts"
export * from "./services/Qdrant.ts"
export * from "./services/SagaGuard.ts"
export * from "./services/SagaJournal.ts"
export * from "./services/SagaSettings.ts"
export type { Toggles } from "./services/Toggles.ts"
