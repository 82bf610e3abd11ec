/** Names of what only one saga may touch at a time. */
import { InvalidResource, LockError } from "./LockError.ts"

const MAX = 1024

/** Sorted and without repeats; or what is wrong with them. */
export const resourceNames = (names: ReadonlyArray<string>): ReadonlyArray<string> | LockError => {
  const problem =
    names.length === 0
      ? "a lock needs at least one resource"
      : names.some((name) => name.length === 0)
        ? "a resource's name must not be empty"
        : names.some((name) => name.length > MAX)
          ? `a resource's name has at most ${MAX} characters`
          : undefined
  if (problem !== undefined) return new LockError({ reason: new InvalidResource({ problem }) })
  return names.length === 1 ? names : [...new Set(names)].sort()
}
