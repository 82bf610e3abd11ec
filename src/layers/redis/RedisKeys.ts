/** The names of our keys. All keys of one resource share a hash tag, so a cluster keeps them on one node. */
import { bucket, sha256 } from "../../schema/Digest.ts"

export const lockKey = (resource: string) => `dtx:lock:{${bucket(resource)}}:${resource}`
export const fenceKey = (resource: string) => `dtx:fence:{${bucket(resource)}}:${resource}`
/** Present while somebody waits for the resource. */
export const waitingKey = (resource: string) => `dtx:waiting:{${bucket(resource)}}:${resource}`
/** The fence of the last saga admitted to the resource. */
export const writerKey = (resource: string) => `dtx:writer:{${bucket(resource)}}:${resource}`
/** The sagas that were admitted to the resource and have not ended. */
export const openKey = (resource: string) => `dtx:open:{${bucket(resource)}}:${resource}`
/** The fence of a saga that ended, while somebody may still ask whether it did. */
export const endedKey = (resource: string, sagaId: string) => `dtx:ended:{${bucket(resource)}}:${sagaId}`

/** Of a derived key: with the first of its resources. */
const derivedRecordKey = (resource: string, key: string) => `idempotency:{${bucket(resource)}}:${key}`
/** Of a caller's key: scoped to the saga's name whatever the resource, hence with a tag of its own. */
const callersRecordKey = (saga: string, key: string) => {
  const hash = sha256(JSON.stringify([saga, key]))
  return `idempotency:{${bucket(hash)}}:caller:${hash}`
}
export const recordKey = (request: {
  readonly saga: string
  readonly key: string
  readonly derived: boolean
  readonly resources: ReadonlyArray<string>
}): string =>
  request.derived
    ? derivedRecordKey(request.resources[0] ?? "", request.key)
    : callersRecordKey(request.saga, request.key)
/** What a cluster hashes of a key of ours. */
export const tagOf = (key: string): string => key.slice(key.indexOf("{") + 1, key.indexOf("}"))

/** Where releases are announced: a JSON array of the resources' names, and of the record that was stored with it. */
export const RELEASED = "dtx:released"
