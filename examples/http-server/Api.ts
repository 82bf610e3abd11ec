/** What the server offers, declared: clients, OpenAPI and handlers come from here. */
import { Schema, Struct } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiMiddleware, HttpApiSchema } from "effect/http-api"
import { Document, Uuid } from "../../src/ingest/index.ts"
import { readProblems, sagaProblems, Unhealthy } from "./Problem.ts"

const params = { uuid: Uuid }

/** The same key again gets the first answer again; another payload under it is refused. */
const headers = { "idempotency-key": Schema.optionalKey(Schema.String) }

const answered = { "idempotent-replayed": Schema.Literals(["true", "false"]), "saga-id": Schema.String }

export const Written = Schema.Struct({ uuid: Uuid, replayed: Schema.Literal(false) })
export const Replayed = Schema.Struct({ uuid: Uuid, replayed: Schema.Literal(true) })

export const Documents = HttpApiGroup.make("documents")
  .add(
    HttpApiEndpoint.post("write", "/documents/:uuid", {
      params,
      headers,
      /** The document without its uuid, which the path has. */
      payload: Schema.Struct(Struct.omit(Document.fields, ["uuid"])),
      success: [
        HttpApiSchema.WithHeaders(Written.pipe(HttpApiSchema.status(201)), answered),
        HttpApiSchema.WithHeaders(Replayed, answered)
      ],
      error: sagaProblems
    })
  )
  .add(HttpApiEndpoint.get("read", "/documents/:uuid", { params, success: Document, error: readProblems }))
  .add(
    HttpApiEndpoint.delete("remove", "/documents/:uuid", {
      params,
      headers,
      success: HttpApiSchema.WithHeaders(HttpApiSchema.NoContent, answered),
      error: sagaProblems
    })
  )

export const Health = Schema.Struct({
  /** Databases whose breaker is open. */
  open: Schema.Array(Schema.String),
  /** How many wait; null when their table does not answer. */
  deadLetters: Schema.NullOr(Schema.Int)
})

export const System = HttpApiGroup.make("system").add(
  HttpApiEndpoint.get("health", "/health", { success: Health, error: Unhealthy })
)

/** What does not fit these schemas is answered with a problem document that says where. */
export const Api = HttpApi.make("documents").add(Documents).add(System).middleware(HttpApiMiddleware.ProblemDetails)
