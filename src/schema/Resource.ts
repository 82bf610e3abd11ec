/** Names of what only one saga may touch at a time. */
import { InvalidResource, LockError } from "./LockError.ts"

const MAX = 1024
const invalid = (problem: string) => new LockError({ reason: new InvalidResource({ problem }) })

/** Sorted and without repeats; or what is wrong with them. */
export const resourceNames = (names: ReadonlyArray<string>): ReadonlyArray<string> | LockError => {
  if (names.length === 0) return invalid("a lock needs at least one resource")
  let last = ""
  let isSorted = true
  for (const name of names) {
    if (name.length === 0) return invalid("a resource's name must not be empty")
    if (name.length > MAX) return invalid(`a resource's name has at most ${MAX} characters`)
    if (name <= last) isSorted = false
    last = name
  }
  return isSorted ? names : [...new Set(names)].sort()
}
