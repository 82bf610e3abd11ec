/**
 * The atomic steps of idempotency. A record is a hash: saga (id), print (of the payload), fence, and text, or served
 * without one. All keys of one script are on one node: those of a single Redis, or of one hash tag of a cluster.
 */
import { script } from "effect/persistence/Redis"
import type { Ending, IdempotencyRequest, OpenMark } from "../../services/Idempotency.ts"
import { callersRecordKey, derivedRecordKey, openKey, writerKey } from "./RedisKeys.ts"

export const recordKey = (request: IdempotencyRequest): string =>
  request.derived
    ? derivedRecordKey(request.resources[0] ?? "", request.key)
    : callersRecordKey(request.saga, request.key)

const keys = (request: IdempotencyRequest) => [
  recordKey(request),
  ...request.resources.flatMap((resource) => [writerKey(resource), openKey(resource)])
]
const count = (request: IdempotencyRequest) => 1 + 2 * request.resources.length

/**
 * The record, if it counts: a derived one only while the last saga admitted to each resource is the one that wrote it,
 * and unless it is the very text that was found unreadable.
 */
const FIND = `
local function find(derived, unreadable)
  local kind = redis.call('TYPE', KEYS[1]).ok
  if kind == 'none' then return nil end
  local r = kind == 'hash' and redis.call('HMGET', KEYS[1], 'saga', 'print', 'fence', 'text')
  if not (r and r[1] and r[2] and r[3]) then
    if derived then return nil end
    return {'unreadable', 'it is not what this version writes'}
  end
  if derived then
    if not r[4] or r[4] == unreadable then return nil end
    for i = 2, #KEYS, 2 do
      if redis.call('GET', KEYS[i]) ~= r[3] then return nil end
    end
  end
  if r[4] then return {'text', r[1], r[2], r[4]} end
  return {'served', r[1], r[2]}
end
`

export type Found =
  | readonly ["none"]
  | readonly ["unreadable", string]
  | readonly ["text", string, string, string]
  | readonly ["served", string, string]

const flag = (value: boolean) => (value ? "1" : "0")

export const lookup = script(
  (request: IdempotencyRequest) => [...keys(request), flag(request.derived), request.unreadable ?? ""],
  { numberOfKeys: count, lua: `${FIND} return find(ARGV[1] == '1', ARGV[2]) or {'none'}` }
).withReturnType<Found>()

/**
 * The second look, and admission. Invariant: after it, the writer mark of each resource is this lease's fence, so every
 * derived record made before is void and nobody admitted before can end; each resource's open mark names this saga.
 */
export const begin = script(
  (request: IdempotencyRequest, mark: OpenMark, lives: number, exclusive: boolean) => [
    ...keys(request),
    flag(request.derived),
    request.unreadable ?? "",
    flag(request.replay !== false),
    mark.fence,
    lives,
    request.sagaId,
    JSON.stringify(mark),
    flag(exclusive)
  ],
  {
    numberOfKeys: count,
    lua: `${FIND}
if ARGV[3] == '1' then
  local found = find(ARGV[1] == '1', ARGV[2])
  if found then return found end
end
local answer = {'admitted'}
for i = 2, #KEYS, 2 do
  redis.call('SET', KEYS[i], ARGV[4], 'PX', ARGV[5])
  if ARGV[8] == '1' then
    local mark = redis.call('GET', KEYS[i + 1])
    if mark and not string.find(mark, ARGV[6], 1, true) then answer[#answer + 1] = mark end
    redis.call('SET', KEYS[i + 1], ARGV[7])
  end
end
return answer`
  }
).withReturnType<Exclude<Found, readonly ["none"]> | readonly ["admitted", ...ReadonlyArray<string>]>()

/**
 * The end. Invariant: only the saga admitted last to all the resources ends; a successor's record and marks are never
 * touched. Asking again for the same saga id changes nothing. Returns 0 when refused.
 */
export const end = script(
  (request: IdempotencyRequest, fence: number, lives: number, ending: Ending) => [
    ...keys(request),
    fence,
    lives,
    request.sagaId,
    request.fingerprint,
    request.replay === false ? "Nothing" : ending._tag,
    ending._tag === "Result" ? ending.text : ""
  ],
  {
    numberOfKeys: count,
    lua: `
for i = 2, #KEYS, 2 do
  if redis.call('GET', KEYS[i]) ~= ARGV[1] then
    local done = redis.call('TYPE', KEYS[1]).ok == 'hash' and redis.call('HGET', KEYS[1], 'saga') == ARGV[3]
    return done and 1 or 0
  end
end
for i = 3, #KEYS, 2 do
  local mark = redis.call('GET', KEYS[i])
  if mark and string.find(mark, ARGV[3], 1, true) then redis.call('DEL', KEYS[i]) end
end
if ARGV[5] ~= 'Nothing' then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'saga', ARGV[3], 'print', ARGV[4], 'fence', ARGV[1])
  if ARGV[5] == 'Result' then redis.call('HSET', KEYS[1], 'text', ARGV[6]) end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1`
  }
).withReturnType<0 | 1>()
