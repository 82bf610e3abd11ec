import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Redacted } from "effect"
import { Qdrant, QdrantRest, type QdrantUpdate } from "effect-saga"

/** An HTTP server of the test; its url. */
const listening = (answer: (request: IncomingMessage, response: ServerResponse) => void) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
      const server = createServer(answer)
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(
          Effect.succeed({
            url: `http://127.0.0.1:${port}`,
            close: () => {
              server.closeAllConnections()
              server.close()
            }
          })
        )
      })
    }),
    (server) => Effect.sync(server.close)
  )

describe("the requests to Qdrant", () => {
  const update: QdrantUpdate = { _tag: "SetPayload", payload: {}, where: {} }
  const send = (options: QdrantRest.Options, updates: readonly [QdrantUpdate, ...Array<QdrantUpdate>] = [update]) =>
    Effect.flatMap(Qdrant, (db) => db.update("c", updates)).pipe(Effect.provide(QdrantRest.layer(options)))

  it.live("end with their timeout, and nothing is known then", () =>
    Effect.gen(function* () {
      const { url } = yield* listening(() => {})
      const error = yield* Effect.flip(send({ url, timeout: "50 millis" }))
      assert.deepStrictEqual([error.code, error.transient, error.maybeApplied], ["timeout", true, true])
    })
  )

  it.live("are aborted when they are interrupted", () =>
    Effect.gen(function* () {
      const arrived = yield* Deferred.make<void>()
      const aborted = yield* Deferred.make<void>()
      const { url } = yield* listening((_, response) => {
        response.once("close", () => Deferred.doneUnsafe(aborted, Exit.void))
        Deferred.doneUnsafe(arrived, Exit.void)
      })
      const fiber = yield* Effect.forkChild(send({ url }))
      yield* Deferred.await(arrived)
      yield* Fiber.interrupt(fiber)
      yield* Effect.timeout(Deferred.await(aborted), "2 seconds")
    })
  )

  const answers: ReadonlyArray<readonly [number, boolean, boolean]> = [
    [400, false, false],
    [401, false, false],
    [404, false, false],
    [408, true, true],
    [429, true, false],
    [500, true, true],
    [503, true, true]
  ]
  for (const [status, transient, maybeApplied] of answers) {
    it.live(`answered with ${status}: ${transient ? "may" : "will not"} succeed later`, () =>
      Effect.gen(function* () {
        const { url } = yield* listening((_, response) => {
          response.writeHead(status, { "content-type": "application/json", "retry-after": "1" })
          response.end(JSON.stringify({ status: { error: "why not" }, time: 0 }))
        })
        const error = yield* Effect.flip(send({ url }))
        assert.deepStrictEqual(
          [error.code, error.transient, error.maybeApplied],
          [`${status}`, transient, maybeApplied]
        )
        if (status !== 429) assert.strictEqual(error.message, `${status}: why not`)
        // Of several updates the server may have refused a later one.
        assert.isTrue((yield* Effect.flip(send({ url }, [update, update]))).maybeApplied)
      })
    )
  }

  it.live("are not done when the server has only taken note of them", () =>
    Effect.gen(function* () {
      const { url } = yield* listening((_, response) => {
        response.writeHead(200, { "content-type": "application/json" })
        response.end(JSON.stringify({ result: [{ status: "acknowledged" }], status: "ok", time: 0 }))
      })
      const error = yield* Effect.flip(send({ url }))
      assert.deepStrictEqual([error.code, error.transient, error.maybeApplied], ["pending", true, true])
    })
  )

  it.live("go below the path of the URL, with the key", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const { url } = yield* listening((request, response) => {
        seen.push(request.url?.split("?")[0], request.headers["api-key"])
        response.writeHead(200, { "content-type": "application/json" })
        response.end(JSON.stringify({ result: [{ status: "completed" }], status: "ok", time: 0 }))
      })
      yield* send({ url: `${url}/behind/proxy/`, apiKey: Redacted.make("key") })
      assert.deepStrictEqual(seen, ["/behind/proxy/collections/c/points/batch", "key"])
    })
  )
})
