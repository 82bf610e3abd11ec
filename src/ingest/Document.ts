/** What is ingested: one document, whole or not at all, in every store. */
import { Schema } from "effect"

export const Uuid = Schema.String.check(
  Schema.isPattern(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/, {
    message: "a UUID in lower case, such as 6f2c1c8e-3f0a-4c55-9c1b-0d8f6a1b2c3d"
  })
)

export class Document extends Schema.Class<Document>("effect-saga/ingest/Document")({
  uuid: Uuid,
  title: Schema.NonEmptyString,
  body: Schema.String,
  /** The vector of the text; every document of a collection has the same dimension. */
  embedding: Schema.NonEmptyArray(Schema.Finite),
  /** Documents it refers to, whether or not they exist yet. */
  links: Schema.Array(Uuid),
  metadata: Schema.Record(Schema.String, Schema.Json)
}) {}
