import type { CircuitBreakers } from "../../services/CircuitBreakers.ts"
import type { DeadLetterQueue } from "../../services/DeadLetterQueue.ts"
import type { DistributedLock } from "../../services/DistributedLock.ts"
import type { SagaGuard } from "../../services/SagaGuard.ts"

/** What every execution needs, whatever its steps need. */
export type Services = DistributedLock | SagaGuard | CircuitBreakers | DeadLetterQueue
