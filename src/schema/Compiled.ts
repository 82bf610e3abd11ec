/** Schemas by which many values go, each made into code by Effect. */
import { type Schema, SchemaAST } from "effect"
import { enable } from "effect/schema/SchemaJITCompiler"

/** Where no code may be made at run time Effect goes on interpreting it. To be called before it is first used. */
export const compiled = <S extends Schema.Constraint>(schema: S): S => {
  enable(schema.ast)
  // By which it encodes, if that is another.
  enable(SchemaAST.flip(schema.ast))
  return schema
}
