/** Where dead letters wait that their table does not take at the moment. */
import type { Effect } from "effect"

export interface SpooledLetter {
  /** The dead letter's. */
  readonly id: string
  /** What `dlq_add_entry` takes; undefined if it is there and cannot be read. */
  readonly json: string | undefined
  /** It is in the table. Removing what somebody else removed changes nothing. */
  readonly remove: Effect.Effect<void, unknown>
  /** It can never be: kept where it stops nobody. */
  readonly setAside: Effect.Effect<void, unknown>
}

export interface DeadLetterSpool {
  readonly name: string
  /** Returns when it is as safe as this spool can make it. One that is spooled twice may wait there twice. */
  readonly put: (id: string, json: string) => Effect.Effect<void, unknown>
  /** At most this many of those that wait. */
  readonly waiting: (limit: number) => Effect.Effect<ReadonlyArray<SpooledLetter>, unknown>
}
