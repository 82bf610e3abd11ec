/** Values of steps and sagas as JSON: what journals, dead letters and records are made of. */
import { Exit, Schema, SchemaAST } from "effect"
import { CircuitBreakerError } from "effect/persistence/CircuitBreaker"
import { compiled } from "../../schema/Compiled.ts"
import { StepTimeout } from "../../schema/SagaError.ts"
import { erase } from "./Definition.ts"

export type JsonCodec = Schema.Codec<unknown, unknown>

const codecs = new WeakMap<Schema.Constraint, JsonCodec>()

/**
 * Building a codec walks the whole schema, so each is built once, and has Effect make code of it. Steps declare schemas that
 * need no services.
 */
export const jsonCodec = (schema: Schema.Constraint): JsonCodec => {
  const found = codecs.get(schema)
  if (found !== undefined) return found
  const codec = compiled(Schema.toCodecJson(erase<JsonCodec>(schema)))
  codecs.set(schema, codec)
  return codec
}

/** Whether it leaves values as they are, but for members that it does not tell of. */
export const isVerbatim = ({ ast }: JsonCodec): boolean => SchemaAST.toEncoded(ast) === ast

type Coding = (value: unknown) => Exit.Exit<unknown, Schema.SchemaError>

/** What is made of a schema is made once: looking for it costs less than anything else that is done with it. */
const once = <S extends object>(make: (schema: S) => Coding) => {
  const made = new WeakMap<S, Coding>()
  return (schema: S): Coding => {
    const known = made.get(schema)
    if (known !== undefined) return known
    const coding = make(schema)
    made.set(schema, coding)
    return coding
  }
}
export const encoderOf = once((codec: JsonCodec) => Schema.encodeUnknownExit(codec))
export const decoderOf = once((codec: JsonCodec) => Schema.decodeUnknownExit(codec))

const encoderTo = once((schema: Schema.Constraint) => encoderOf(jsonCodec(schema)))
const nothing = Exit.succeed(null)

/** `undefined` (a step without output) is `null`. */
export const encodeJson = (schema: Schema.Constraint, value: unknown): Exit.Exit<unknown, Schema.SchemaError> => {
  const encoded = encoderTo(schema)(value)
  return Exit.isSuccess(encoded) && encoded.value === undefined ? nothing : encoded
}

export const decodeJson = (schema: Schema.Constraint, json: unknown): Exit.Exit<unknown, Schema.SchemaError> =>
  decoderOf(jsonCodec(schema))(json)

/** What is left of a value that its schema cannot encode: it must not be lost for that. */
export const encodeOrText = (schema: Schema.Constraint, value: unknown): unknown => {
  const exit = encodeJson(schema, value)
  return Exit.isSuccess(exit) ? exit.value : { unencodable: String(value) }
}

const failures = new WeakMap<Schema.Constraint, Schema.Constraint>()

/** How a step fails its saga: its own errors, and those of any step. */
export const failureOf = (error: Schema.Constraint): Schema.Constraint => {
  const found = failures.get(error)
  if (found !== undefined) return found
  const failure = Schema.Union([erase<JsonCodec>(error), StepTimeout, CircuitBreakerError])
  failures.set(error, failure)
  return failure
}

export const problemOf = (exit: Exit.Failure<unknown, Schema.SchemaError>): string => {
  const reason = exit.cause.reasons[0]
  return reason?._tag === "Fail" ? reason.error.message : String(exit.cause)
}
