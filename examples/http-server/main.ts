/**
 * The document saga in an HTTP server: `node examples/http-server/main.ts`, on the embedded default, or on the real
 * servers that DATABASE_URL, REDIS_URL, NEO4J_URL and QDRANT_URL name. PORT is 3000 unless said.
 *
 *   POST /documents/:uuid    ingests (honours Idempotency-Key)     GET /metrics       for Prometheus
 *   GET /documents/:uuid     reads the row                         GET /health        the breakers
 *   DELETE /documents/:uuid  removes (honours Idempotency-Key)     GET /openapi.json  the API
 */
import { createServer } from "node:http"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Cause, Config, Effect, Exit, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { routes } from "./Routes.ts"
import { servers } from "./Servers.ts"

// Closing the server's scope lets running requests end: a saga is never cut in two by a deployment.
const server = Layer.unwrap(
  Effect.map(Config.Port("PORT").pipe(Config.withDefault(3000)), (port) =>
    NodeHttpServer.layer(createServer, { port, host: "127.0.0.1", gracefulShutdownTimeout: "30 seconds" })
  )
)

// The databases come first: a server that listens before its handlers are there leaves early requests without an answer.
const main = HttpRouter.serve(routes).pipe(Layer.provide(server), Layer.provide(servers), Layer.launch)

// To be asked to end is no failure.
NodeRuntime.runMain(main, {
  teardown: (exit, end) => end(Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause) ? 1 : 0)
})
