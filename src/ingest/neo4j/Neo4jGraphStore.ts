/**
 * The document nodes in Neo4j, with a `LINKS` edge to each document they refer to. A document that does not exist yet is
 * a stub: a node without a document, and with a floor below every fence.
 */
import { Effect, Layer, Option, Schedule, Schema } from "effect"
import { Step } from "../../index.ts"
import { Neo4j, type Neo4jError } from "../../services/Neo4j.ts"
import { Document } from "../Document.ts"
import { Rejected, refused, StoreError, Unavailable } from "../StoreError.ts"
import { GraphStore, type Image, nothing, type Stamp } from "../Stores.ts"

const CONSTRAINT = "CREATE CONSTRAINT document_uuid IF NOT EXISTS FOR (n:Document) REQUIRE n.uuid IS UNIQUE"

/**
 * One statement, one transaction. The first SET takes the node's write lock before the floor is compared, so of two
 * writers the second sees what the first left. Invariant: the floor never falls, and a refused writer changes nothing.
 * Stubs that lose their last link go with it.
 */
const WRITE = `
MERGE (n:Document {uuid: $uuid})
  ON CREATE SET n.floor = -1
SET n.locked = true
REMOVE n.locked
WITH n, n.floor AS floor, coalesce(n.stampSaga = $saga, false) AS mine, coalesce(n.stampCall = $call, false) AS same
WITH n, floor, mine, same, floor < $fence OR (floor = $fence AND n.floorSaga = $saga) AS may
WITH n, floor, may, may AND (CASE WHEN $restoring THEN mine ELSE NOT (mine AND same) END) AS change
FOREACH (_ IN CASE WHEN may THEN [1] ELSE [] END | SET n.floor = $fence, n.floorSaga = $saga)
FOREACH (_ IN CASE WHEN change THEN [1] ELSE [] END |
  SET n.document = $document, n.title = $title, n.stampSaga = $stampSaga, n.stampCall = $stampCall)
WITH n, floor, may, change
CALL (n, change) {
  WITH n, change WHERE change
  MATCH (n)-[link:LINKS]->(target:Document)
  DELETE link
  WITH DISTINCT target
  WHERE target.document IS NULL AND target.floor = -1 AND NOT EXISTS { ()-[:LINKS]->(target) }
  DELETE target
  RETURN count(*) AS stubs
}
FOREACH (uuid IN CASE WHEN change THEN $links ELSE [] END |
  MERGE (target:Document {uuid: uuid}) ON CREATE SET target.floor = -1
  MERGE (n)-[:LINKS]->(target))
RETURN may, floor`

const untilAlone = Schedule.exponential("50 millis").pipe(Schedule.jittered, Schedule.upTo({ times: 10 }))

const storeError = (operation: string) => (error: Neo4jError) =>
  new StoreError({
    store: "neo4j",
    operation,
    transient: error.transient,
    applied: error.maybeApplied ? "unknown" : "no",
    reason: error.transient ? new Unavailable({ cause: error }) : new Rejected({ problem: error.message })
  })

const READ = `
MATCH (n:Document {uuid: $uuid})
RETURN n.document AS document, n.stampSaga AS stampSaga, n.stampCall AS stampCall`

const Stored = Schema.fromJsonString(Schema.toCodecJson(Document))
const Found = Schema.Struct({
  document: Schema.NullOr(Stored),
  stampSaga: Schema.NullOr(Schema.String),
  stampCall: Schema.NullOr(Schema.Int)
})
const Answer = Schema.Struct({ may: Schema.Boolean, floor: Schema.Number })

const make = Effect.gen(function* () {
  const neo4j = yield* Neo4j
  // Processes that start at the same time lock each other out, and all but one have to ask again.
  yield* neo4j
    .run(CONSTRAINT)
    .pipe(
      Effect.retry({ schedule: untilAlone, while: (error: Neo4jError) => error.transient && !error.maybeApplied }),
      Effect.orDie
    )

  const write = Effect.fnUntraced(function* (
    operation: string,
    uuid: string,
    document: Option.Option<Document>,
    /** Given: puts it back, if this saga wrote since. */
    restored?: Option.Option<typeof Stamp.Type>
  ): Effect.fn.Return<void, StoreError, Step.SagaRun> {
    const { call, fence, sagaId } = yield* Step.SagaRun
    const found = Option.getOrUndefined(document)
    const stamp = Option.getOrUndefined(restored ?? Option.some({ sagaId, call }))
    const rows = yield* Effect.mapError(
      neo4j.run(WRITE, {
        uuid,
        fence,
        saga: sagaId,
        call,
        restoring: restored !== undefined,
        document: found === undefined ? null : Schema.encodeSync(Stored)(found),
        title: found?.title ?? null,
        links: found?.links ?? [],
        stampSaga: stamp?.sagaId ?? null,
        stampCall: stamp?.call ?? null
      }),
      storeError(operation)
    )
    const answer = Schema.decodeUnknownOption(Answer)(rows[0])
    if (Option.isSome(answer) && answer.value.may) return
    return yield* refused("neo4j", operation, uuid, Option.isSome(answer) ? answer.value.floor : fence, fence)
  })

  const image = Effect.fnUntraced(function* (uuid: string): Effect.fn.Return<Image, StoreError> {
    const rows = yield* Effect.mapError(neo4j.run(READ, { uuid }), storeError("find"))
    if (rows[0] === undefined) return nothing
    const found = yield* Effect.mapError(
      Schema.decodeUnknownEffect(Found)(rows[0]),
      (error) =>
        new StoreError({
          store: "neo4j",
          operation: "find",
          transient: false,
          applied: "no",
          reason: new Rejected({ problem: `the node ${uuid} is not a document: ${error.message}` })
        })
    )
    return {
      document: Option.fromNullOr(found.document),
      stamp:
        found.stampSaga === null || found.stampCall === null
          ? Option.none()
          : Option.some({ sagaId: found.stampSaga, call: found.stampCall })
    }
  })

  return GraphStore.of({
    find: (uuid) => Effect.map(image(uuid), ({ document }) => document),
    image,
    upsert: (document) => write("upsert", document.uuid, Option.some(document)),
    remove: (uuid) => write("remove", uuid, Option.none()),
    restore: (uuid, { document, stamp }) => write("restore", uuid, document, stamp)
  })
})

/** Creates the uniqueness constraint first; a database that cannot be reached at the start is a defect. */
export const layer: Layer.Layer<GraphStore, never, Neo4j> = Layer.effect(GraphStore, make)
