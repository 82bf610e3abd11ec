/** What the state of a failed statement says of why it failed. */
import { isSqlError } from "effect/sql/SqlError"

const stateOf = (failure: unknown): string => {
  if (!isSqlError(failure)) return ""
  const cause = failure.reason.cause
  if (typeof cause !== "object" || cause === null || !("code" in cause)) return ""
  return typeof cause.code === "string" ? cause.code : ""
}

/** Two transactions got in each other's way: nothing was written, and asking again helps. */
export const isConflict = (failure: unknown): boolean => stateOf(failure).startsWith("40")

/** Of what the statement carries, whatever state the server is in: bad data, a constraint, a limit, a conflict. */
export const isOfItsValues = (failure: unknown): boolean => /^(22|23|40|54)/.test(stateOf(failure))
