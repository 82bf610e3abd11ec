/** Where dead letters wait that their table does not take at the moment. */
import type { Effect } from "effect"

export interface SpooledLetter {
  /** The dead letter's. */
  readonly id: string
  /** What `dlq_add_entry` takes. */
  readonly json: string
  /** It is in the table. */
  readonly remove: Effect.Effect<void, unknown>
  /** It can never be: kept where it stops nobody. */
  readonly setAside: Effect.Effect<void, unknown>
}

export interface DeadLetterSpool {
  readonly name: string
  /** Returns when it is as safe as this spool can make it. Spooling again what is spooled changes nothing. */
  readonly put: (id: string, json: string) => Effect.Effect<void, unknown>
  /** All that wait, or the first thousand of them. */
  readonly waiting: Effect.Effect<ReadonlyArray<SpooledLetter>, unknown>
}
