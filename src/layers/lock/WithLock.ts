/** Runs something under a lease, interrupting it when the lease is lost. */
import { Effect } from "effect"
import type { DistributedLock } from "../../services/DistributedLock.ts"

export const withLock =
  (acquire: DistributedLock["Service"]["acquire"]): DistributedLock["Service"]["withLock"] =>
  (...names) =>
  (use) =>
    Effect.scoped(
      Effect.flatMap(acquire(...names), (lease) =>
        lease.exclusive ? Effect.raceFirst(use(lease), lease.lost) : use(lease)
      )
    )
