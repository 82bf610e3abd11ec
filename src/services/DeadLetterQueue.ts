/** Where everything goes that could not be undone or finished, until somebody does it or says it is done. */
import { Context, type Effect } from "effect"
import type { DeadLetter, DeadLetterFilter, NewDeadLetter } from "../schema/DeadLetter.ts"
import type { DeadLetterError } from "../schema/DeadLetterError.ts"

export class DeadLetterQueue extends Context.Service<
  DeadLetterQueue,
  {
    /** Never fails: what the table cannot take is spooled or logged at Fatal. Adding twice adds once. Returns the id. */
    readonly add: (entry: NewDeadLetter) => Effect.Effect<string>
    readonly get: (id: string) => Effect.Effect<DeadLetter, DeadLetterError>
    readonly list: (filter?: DeadLetterFilter) => Effect.Effect<ReadonlyArray<DeadLetter>, DeadLetterError>
    readonly resolve: (id: string, by: string, notes: string) => Effect.Effect<void, DeadLetterError>
    readonly discard: (id: string, by: string, notes: string) => Effect.Effect<void, DeadLetterError>
    readonly stats: Effect.Effect<Readonly<Record<DeadLetter["status"], number>>, DeadLetterError>
    /** Pending, retrying and spooled. */
    readonly size: Effect.Effect<number, DeadLetterError>
  }
>()("effect-saga/services/DeadLetterQueue") {}
