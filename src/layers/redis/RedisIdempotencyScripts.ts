/**
 * The atomic steps of idempotency. A record is a hash: saga (id), print (of the payload), fence, and text, or served
 * without one. The open marks of a resource are a hash too, by saga id. All keys of one script are on one node: those of a single Redis, or of one hash tag of a cluster.
 */
import { script } from "effect/persistence/Redis"
import type { Ending, IdempotencyRequest, OpenMark } from "../../services/Idempotency.ts"
import { openKey, writerKey } from "./RedisKeys.ts"

/** What one script is about: some of a request's resources, and its record if that is on the same node. */
export interface Part {
  readonly record: string | undefined
  readonly resources: ReadonlyArray<string>
}

const keys = (part: Part) => [
  ...(part.record === undefined ? [] : [part.record]),
  ...part.resources.flatMap((resource) => [writerKey(resource), openKey(resource)])
]
const count = (part: Part) => (part.record === undefined ? 0 : 1) + 2 * part.resources.length
const flag = (value: boolean) => (value ? "1" : "0")

/** The pairs of keys go from the `first` to the last. */
export const marking = (first: string) => `
local first = ${first}
local function writers_are(fence)
  for i = first, #KEYS, 2 do
    if redis.call('GET', KEYS[i]) ~= fence then return false end
  end
  return true
end
`
/** They begin after the record, if there is one: the number of keys is odd then. */
const MARKS = marking("#KEYS % 2 + 1")

/**
 * The record, if it counts: a derived one only while the last saga admitted to each resource is the one that wrote it,
 * and unless it is the very text that was found unreadable.
 */
export const finding = (first: string) => `${marking(first)}
local function find(derived, unreadable)
  local r = redis.pcall('HMGET', KEYS[1], 'saga', 'print', 'fence', 'text')
  if not (r.err or r[1] or r[2] or r[3] or r[4]) then return nil end
  if not (r[1] and r[2] and r[3]) then
    if derived then return nil end
    return {'unreadable', 'it is not what this version writes'}
  end
  if derived and (not r[4] or r[4] == unreadable or not writers_are(r[3])) then return nil end
  if r[4] then return {'text', r[1], r[2], r[4], r[3]} end
  return {'served', r[1], r[2]}
end
`
const FIND = finding("#KEYS % 2 + 1")

export type Found =
  | readonly ["none"]
  | readonly ["unreadable", string]
  | readonly ["text", string, string, string, string]
  | readonly ["served", string, string]

export const lookup = script(
  (part: Part, request: IdempotencyRequest) => [...keys(part), flag(request.derived), request.unreadable ?? ""],
  { numberOfKeys: count, lua: `${FIND} return find(ARGV[1] == '1', ARGV[2]) or {'none'}` }
).withReturnType<Found>()

/** Whether the last saga admitted to each resource had this fence. */
export const writersAre = script((part: Part, fence: string) => [...keys(part), fence], {
  numberOfKeys: count,
  lua: `${MARKS} return writers_are(ARGV[1]) and 1 or 0`
}).withReturnType<0 | 1>()

/**
 * The second look, and admission. Invariant: after it, the writer mark of each resource is this lease's fence, so every
 * derived record made before is void and nobody admitted before can end; each resource has an open mark of this saga. The
 * writer mark never falls: an owner that comes late is refused or, without exclusion, admitted without a mark. The marks
 * it finds stay until it succeeds, so that they are found again if it is asked again or dies in its turn.
 */
export const begin = script(
  (part: Part, request: IdempotencyRequest, mark: OpenMark, lives: number, exclusive: boolean) => [
    ...keys(part),
    flag(request.derived),
    request.unreadable ?? "",
    flag(part.record !== undefined && request.replay !== false),
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
local function is_late(i) return tonumber(redis.call('GET', KEYS[i]) or '0') > tonumber(ARGV[4]) end
if ARGV[8] == '1' then
  for i = first, #KEYS, 2 do
    if is_late(i) then return {'refused'} end
  end
end
local answer = {'admitted'}
for i = first, #KEYS, 2 do
  if not is_late(i) then redis.call('SET', KEYS[i], ARGV[4], 'PX', ARGV[5]) end
  if ARGV[8] == '1' then
    local marks = redis.call('HGETALL', KEYS[i + 1])
    for m = 1, #marks, 2 do
      if marks[m] ~= ARGV[6] then answer[#answer + 1] = marks[m + 1] end
    end
    redis.call('HSET', KEYS[i + 1], ARGV[6], ARGV[7])
  end
end
return answer`
  }
).withReturnType<
  Exclude<Found, readonly ["none"]> | readonly ["admitted", ...ReadonlyArray<string>] | readonly ["refused"]
>()

/**
 * The end. Invariant: only the saga admitted last to all the resources ends; a successor's record and marks are never
 * touched. A success has dealt with the marks it found. Asking again for the same saga id changes nothing. Returns 0 when
 * refused.
 */
export const end = script(
  (part: Part, request: IdempotencyRequest, fence: number, lives: number, ending: Ending) => [
    ...keys(part),
    fence,
    lives,
    request.sagaId,
    request.fingerprint,
    part.record === undefined || request.replay === false ? "Nothing" : ending._tag,
    ending._tag === "Result" ? ending.text : "",
    flag(ending._tag !== "Nothing")
  ],
  {
    numberOfKeys: count,
    lua: `${MARKS}
if not writers_are(ARGV[1]) then
  local done = first == 2 and redis.call('TYPE', KEYS[1]).ok == 'hash' and redis.call('HGET', KEYS[1], 'saga') == ARGV[3]
  return done and 1 or 0
end
for i = first + 1, #KEYS, 2 do
  local had = redis.call('HDEL', KEYS[i], ARGV[3])
  if had == 1 and ARGV[7] == '1' then redis.call('DEL', KEYS[i]) end
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
