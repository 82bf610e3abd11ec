/** The names of our keys. All keys of one resource share a hash tag, so a cluster keeps them on one node. */
import { bucket } from "../../schema/Digest.ts"
import { scopedKey } from "../../schema/IdempotencyKey.ts"

/** The hash tag of all keys of a resource. */
export const tag = (resource: string) => `{${bucket(resource)}}`
/** What they end with: a prefix says which it is. */
export const tagged = (resource: string) => `${tag(resource)}:${resource}`
export const LOCK = "dtx:lock:"
export const FENCE = "dtx:fence:"
/** Who was admitted to the resource, see `Ledger`. */
export const LEDGER = "dtx:ledger:"

export const lockKey = (resource: string) => LOCK + tagged(resource)
export const fenceKey = (resource: string) => FENCE + tagged(resource)
export const ledgerKey = (resource: string) => LEDGER + tagged(resource)
/** The fence of a saga that ended, while somebody may still ask whether it did. */
export const endedKey = (tag: string, sagaId: string) => `dtx:ended:${tag}:${sagaId}`

/** Of a derived key: with the first of its resources. */
const derivedRecordKey = (resource: string, key: string) => `idempotency:${tag(resource)}:${key}`
/** Of a caller's key, by its name in a store: scoped to the saga's name whatever the resource, hence with a tag of its own. */
const callersRecordKey = (name: string) => `idempotency:${tag(name)}:caller:${name}`
/** `name`: the name of a caller's key in a store, where it is known already. */
export const recordKey = (
  request: {
    readonly saga: string
    readonly key: string
    readonly derived: boolean
    readonly resources: ReadonlyArray<string>
  },
  name?: string
): string =>
  request.derived
    ? derivedRecordKey(request.resources[0] ?? "", request.key)
    : callersRecordKey(name ?? scopedKey(request))
/** The tag in a key of ours, or in what it ends with. */
export const tagIn = (key: string): string => key.slice(key.indexOf("{"), key.indexOf("}") + 1)

/** Where releases are announced: a JSON array of the resources' names, and of the record that was stored with it. */
export const RELEASED = "dtx:released"
