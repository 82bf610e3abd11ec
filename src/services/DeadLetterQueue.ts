/**
 * Where everything goes that could not be undone or finished, until somebody does it or says it is done.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Layer, Logger, Schema } from "effect"
 * import { DeadLetterQueue, Saga, SagaMemory, Step } from "effect-saga"
 *
 * const stuck = Step.make("rows.put", {
 *   input: Schema.String,
 *   error: Schema.Literal("down"),
 *   dependency: "postgres",
 *   rollback: "delete",
 *   execute: () => Effect.fail("down" as const),
 *   compensate: () => Effect.fail("down" as const)
 * })
 * const save = Saga.make("Save", {
 *   payload: Schema.String,
 *   error: Schema.Literal("down"),
 *   resource: (id) => id,
 *   steps: [stuck],
 *   run: (id) => stuck(id)
 * })
 * const letters = Effect.gen(function* () {
 *   yield* Effect.flip(save.execute("1"))
 *   return yield* (yield* DeadLetterQueue).list({ database: "postgres" })
 * })
 * const world = Layer.merge(SagaMemory.layerWith({ retries: false }), Logger.layer([]))
 * const [letter] = await Effect.runPromise(Effect.provide(letters, world))
 * console.log(letter?.operation, letter?.priority, letter?.resources) // rollback_delete high [ '1' ]
 * ```
 */
import { Context, type DateTime, type Effect } from "effect"
import type { DeadLetter, DeadLetterFilter, NewDeadLetter } from "../schema/DeadLetter.ts"
import type { DeadLetterError } from "../schema/DeadLetterError.ts"

/** What is to be redriven, and until when the claim keeps others from it. */
export interface DeadLetterClaim {
  /** Names of the sagas that the claimer knows. */
  readonly sagas: ReadonlyArray<string>
  readonly limit: number
  /** Then it is pending again: its claimer is gone. */
  readonly until: DateTime.Utc
}

/** How a try ended that did not resolve the entry. */
export interface DeadLetterRelease {
  readonly dueAt: DateTime.Utc
  /** False: it was no try, such as a lock that was not had. */
  readonly counts: boolean
  /** Of the failure; the first one stays in the metadata. */
  readonly error?: { readonly type: string; readonly message: string }
  /** Why it can never be redriven as things are: shown, and it stays. */
  readonly problem?: string
}

export class DeadLetterQueue extends Context.Service<
  DeadLetterQueue,
  {
    /** Never fails: what the table cannot take is spooled or logged at Fatal. Adding twice adds once. Returns the id. */
    readonly add: (entry: NewDeadLetter) => Effect.Effect<string>
    readonly get: (id: string) => Effect.Effect<DeadLetter, DeadLetterError>
    readonly list: (filter?: DeadLetterFilter) => Effect.Effect<ReadonlyArray<DeadLetter>, DeadLetterError>
    readonly resolve: (id: string, by: string, notes: string) => Effect.Effect<void, DeadLetterError>
    readonly discard: (id: string, by: string, notes: string) => Effect.Effect<void, DeadLetterError>
    /**
     * Claims one entry that waits, whether or not it is due; undefined when somebody else has it. `NotRedrivable`: it is
     * closed, or a newer entry of the same database and resource waits and goes first.
     */
    readonly claim: (id: string, until: DateTime.Utc) => Effect.Effect<DeadLetter | undefined, DeadLetterError>
    /**
     * Claims due entries with tries left, each for one claimer. Of one database and resource only the newest (highest
     * fence, then call) is claimed: older ones wait for it.
     */
    readonly claimDue: (options: DeadLetterClaim) => Effect.Effect<ReadonlyArray<DeadLetter>, DeadLetterError>
    /** Gives a claimed entry back; without effect once the claim is another's. */
    readonly release: (claimed: DeadLetter, how: DeadLetterRelease) => Effect.Effect<void, DeadLetterError>
    /** Removes entries that were resolved or discarded before; spooled ones are drained first. Yields how many. */
    readonly purge: (closedBefore: DateTime.Utc) => Effect.Effect<number, DeadLetterError>
    /** Takes in what was spooled; yields whether nothing is left in the spools. A journal closes only then. */
    readonly drained: Effect.Effect<boolean>
    readonly stats: Effect.Effect<Readonly<Record<DeadLetter["status"], number>>, DeadLetterError>
    /** Pending, retrying and spooled. */
    readonly size: Effect.Effect<number, DeadLetterError>
  }
>()("effect-saga/services/DeadLetterQueue") {}
