import { Effect } from "effect"
import { Neo4j } from "effect-saga"

const nodes = Effect.flatMap(Neo4j, (neo4j) => neo4j.run("MATCH (n {uuid: $uuid}) RETURN n.title", { uuid: "1" }))
// Neo4jDriver.layerConfig has a real one; here is one for a test.
const one = Neo4j.of({
  run: (_statement, parameters) => Effect.succeed([{ "n.title": `title of ${parameters?.uuid}` }])
})
console.log(await Effect.runPromise(Effect.provideService(nodes, Neo4j, one))) // [ { 'n.title': 'title of 1' } ]
