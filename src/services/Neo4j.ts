/**
 * A Neo4j database: one statement, one transaction.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Neo4j } from "effect-saga"
 *
 * const nodes = Effect.flatMap(Neo4j, (neo4j) => neo4j.run("MATCH (n {uuid: $uuid}) RETURN n.title", { uuid: "1" }))
 * // Neo4jDriver.layerConfig has a real one; here is one for a test.
 * const one = Neo4j.of({
 *   run: (_statement, parameters) => Effect.succeed([{ "n.title": `title of ${parameters?.uuid}` }])
 * })
 * console.log(await Effect.runPromise(Effect.provideService(nodes, Neo4j, one))) // [ { 'n.title': 'title of 1' } ]
 * ```
 */
import { Context, type Effect, Schema } from "effect"

export class Neo4jError extends Schema.TaggedError<Neo4jError>()("Neo4jError", {
  /** Neo4j's own code, or the driver's. */
  code: Schema.String,
  /** Whether the same statement may succeed later. */
  transient: Schema.Boolean,
  /** False: the server answered, so the statement was rolled back. True: the connection broke, and nothing is known. */
  maybeApplied: Schema.Boolean,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `${this.code}: ${this.cause}`
  }
}

export class Neo4j extends Context.Service<
  Neo4j,
  {
    /** Whole numbers go and come as integers; beyond 2^53 they lose digits. */
    readonly run: (
      statement: string,
      parameters?: Readonly<Record<string, unknown>>
    ) => Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, Neo4jError>
  }
>()("effect-saga/services/Neo4j") {}
