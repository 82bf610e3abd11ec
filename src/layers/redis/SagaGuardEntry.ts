/** A request as the fused guard asks Redis for it: whose locks it takes, and in which keys. */
import type { IdempotencyRequest } from "../../services/Idempotency.ts"
import type { HeldLease } from "../lock/Leases.ts"
import { markOf } from "./Ledger.ts"
import { LEDGER, LOCK, tagged, tagIn } from "./RedisKeys.ts"

/** Those of one kind by name, in the order of the names. */
interface Keys {
  readonly locks: ReadonlyArray<string>
  readonly ledgers: ReadonlyArray<string>
  /** What the keys of a resource end with. */
  readonly tails: ReadonlyArray<string>
}

/**
 * A request, and what is worked out from it once; what only a script needs, when it is first sent. Its fields are only
 * declared: else each would be set twice.
 */
export class Entry {
  declare readonly request: IdempotencyRequest
  /** What is locked: sorted, without repeats. */
  declare readonly names: ReadonlyArray<string>
  declare readonly record: string
  /** By which its locks are held: no two entries have the same. */
  declare readonly token: string
  /** Its lease, once it is admitted. */
  declare held: HeldLease | undefined
  declare private known: Keys | undefined
  declare private left: string | undefined

  constructor(request: IdempotencyRequest, names: ReadonlyArray<string>, record: string, token: string) {
    this.request = request
    this.names = names
    this.record = record
    this.token = token
    this.held = undefined
    this.known = undefined
    this.left = undefined
  }

  get keys(): Keys {
    this.known ??= keysOf(this.names, this.request.resources)
    return this.known
  }
  /** What it leaves in the ledgers of its resources, without its fence. */
  get mark(): string {
    this.left ??= markOf(this.request)
    return this.left
  }
  /** One for each hash tag that its keys have. */
  get tags(): ReadonlySet<string> {
    return new Set([this.record, ...this.keys.locks, ...this.keys.ledgers].map(tagIn))
  }
}

const ledgerOf = (tail: string) => LEDGER + tail

const keysOf = (names: ReadonlyArray<string>, resources: ReadonlyArray<string>): Keys => {
  const own = resources.length === 1 ? resources : [...new Set(resources)]
  const tails = own.map(tagged)
  const locks: Array<string> = []
  for (const name of names) {
    const at = own.indexOf(name)
    // The engine reads no index below zero without looking for a member of that name.
    locks.push(LOCK + ((at < 0 ? undefined : tails[at]) ?? tagged(name)))
  }
  return { locks, ledgers: tails.map(ledgerOf), tails }
}
