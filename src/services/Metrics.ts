/** The metrics whose names are fixed: alerts and dashboards refer to them. */
import { Metric } from "effect"

/** Seconds from asking for a lease to having it; Prometheus' default buckets. */
export const lockAcquisitionDuration = Metric.histogram("lock_acquisition_duration_seconds", {
  description: "Time to acquire the lock of a saga's resources",
  boundaries: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
})

/** Requests that got a recorded result. */
export const idempotentCacheHits = Metric.counter("idempotent_cache_hits_total", {
  description: "Requests served from a recorded result",
  incremental: true
})

const breakerState = Metric.gauge("circuit_breaker_state", {
  description: "0 closed, 1 open, 2 half-open"
})

export const circuitBreakerState = (database: string) => Metric.withAttributes(breakerState, { database })

/** Pending, retrying and spooled. */
export const deadLetterQueueSize = Metric.gauge("dead_letter_queue_size", {
  description: "Dead letters that wait: pending, retrying and spooled"
})
