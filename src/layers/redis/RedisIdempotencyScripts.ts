/**
 * The atomic steps of idempotency. A record is a text (see `Records`) that begins with the fence of the saga that wrote
 * it. The open marks of a resource are a hash by saga id. All keys of one script are on one node: those of a single
 * Redis, or of one hash tag of a cluster.
 */
import { script } from "effect/persistence/Redis"
import type { Ending, IdempotencyRequest, OpenMark } from "../../services/Idempotency.ts"
import { recordText } from "./Records.ts"
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

/** The pairs of keys begin after the record, if there is one: the number of keys is odd then. */
const FIRST = "#KEYS % 2 + 1"
const MARKS = `
local first = ${FIRST}
local function writers_are(fence)
  for i = first, #KEYS, 2 do
    if redis.call('GET', KEYS[i]) ~= fence then return false end
  end
  return true
end
`
/**
 * The record, if it counts: a derived one only while the last saga admitted to each resource is the one that wrote it,
 * if its result was kept, and unless that is the very text that was found unreadable.
 */
export const finding = (first: string) => `
local first = ${first}
local function find(derived, unreadable)
  local text = redis.pcall('GET', KEYS[1])
  if not text then return nil end
  if not derived then return {'found', text.err and '' or text} end
  local fence = not text.err and string.match(text, '^(%d+)\\n[^\\n]*\\n[^\\n]*\\n')
  if not fence then return nil end
  for i = first, #KEYS, 2 do
    if redis.call('GET', KEYS[i]) ~= fence then return nil end
  end
  if unreadable ~= '' and string.sub(text, -#unreadable - 1) == '\\n' .. unreadable then return nil end
  return {'found', text}
end
`
const FIND = finding(FIRST)

export type Found = readonly ["none"] | readonly ["found", string]

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
 * touched. A success has dealt with the marks it found. Refused it returns the record: if it is the saga's own, it has ended
 * before.
 */
export const end = script(
  (part: Part, request: IdempotencyRequest, fence: number, lives: number, ending: Ending) => [
    ...keys(part),
    fence,
    request.sagaId,
    flag(ending._tag !== "Nothing"),
    part.record === undefined || request.replay === false ? "" : recordText(request, fence, ending),
    lives
  ],
  {
    numberOfKeys: count,
    lua: `${MARKS}
if not writers_are(ARGV[1]) then
  local text = first == 2 and redis.pcall('GET', KEYS[1])
  if not text or text.err then return {'refused', ''} end
  return {'refused', text}
end
for i = first + 1, #KEYS, 2 do
  local had = redis.call('HDEL', KEYS[i], ARGV[2])
  if had == 1 and ARGV[3] == '1' then redis.call('DEL', KEYS[i]) end
end
if ARGV[4] ~= '' then redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5]) end
return {'ended'}`
  }
).withReturnType<readonly ["ended"] | readonly ["refused", string]>()
