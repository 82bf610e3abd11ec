/** How many connections a pool may have, as the environment says it. */
import { Config, Schema } from "effect"

const Size = Schema.NumberFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 1, maximum: 10_000 }))

export const poolSize = (variable: string, unlessSaid: number): Config.Config<number> =>
  Config.schema(Size, variable).pipe(Config.withDefault(unlessSaid))
