/**
 * The fused guard's atomic steps: lock and idempotency in one script each, on the keys of both. The keys of all three
 * are the same: the record, the trace of the end, per locked resource its lock, fence and waiting keys, per resource of
 * the saga its writer and open keys. On a cluster all share a hash tag.
 */
import { script } from "effect/persistence/Redis"
import type { Ending, IdempotencyRequest } from "../../services/Idempotency.ts"
import { type Found, finding, marking } from "./RedisIdempotencyScripts.ts"
import { endedKey, FENCE, LOCK, OPEN, RELEASED, recordKey, tagged, WAITING, WRITER } from "./RedisKeys.ts"
import { FENCE_LIVES } from "./RedisLockScripts.ts"

/** A request, and what is worked out from it once. */
export interface Entry {
  readonly request: IdempotencyRequest
  /** What is locked: sorted, without repeats. */
  readonly names: ReadonlyArray<string>
  readonly keys: ReadonlyArray<string>
  readonly record: string
}

export const entryOf = (request: IdempotencyRequest, names: ReadonlyArray<string>): Entry => {
  const record = recordKey(request)
  const keys = [record, endedKey(request.resources[0] ?? "", request.sagaId)]
  const tails = names.map(tagged)
  for (const tail of tails) keys.push(LOCK + tail, FENCE + tail, WAITING + tail)
  for (const resource of request.resources) {
    const tail = tails[names.indexOf(resource)] ?? tagged(resource)
    keys.push(WRITER + tail, OPEN + tail)
  }
  return { request, names, keys, record }
}

const numberOfKeys = (entry: Entry) => entry.keys.length
/** How long whoever lost the reply to its end may ask again; longer than any client tries. */
const TRACE_LIVES = 60_000

/** The arguments come as one JSON array, and keep their types; the first says how many resources are locked. */
const ARGUMENTS = `
local A = cjson.decode(ARGV[1])
local last = 2 + 3 * A[1]
`
const FIRST = "3 + 3 * A[1]"

/**
 * Deletes what still holds the token, and nothing else; announces it if somebody waits, and with it the record if one was
 * stored: it is for all who wait for it, the locks are for who comes first.
 */
const RELEASE = `
local function release(token, record)
  local locks, marks, announced = {}, {}, {}
  for i = 3, last, 3 do
    if redis.call('GET', KEYS[i]) == token then
      locks[#locks + 1] = KEYS[i]
      marks[#marks + 1] = KEYS[i + 2]
      announced[#announced + 1] = string.match(KEYS[i], '^[^}]*}:(.*)$')
    end
  end
  if #locks == 0 then return end
  redis.call('DEL', unpack(locks))
  if redis.call('DEL', unpack(marks)) > 0 then
    if record then announced[#announced + 1] = record end
    redis.call('PUBLISH', '${RELEASED}', cjson.encode(announced))
  end
end
`

/** The mark, without the fence that is only known to the script. */
const markAround = ({ journaled, resources, saga, sagaId }: IdempotencyRequest) => [
  `{"saga":${JSON.stringify(saga)},"sagaId":${JSON.stringify(sagaId)},"fence":`,
  `,"resources":${JSON.stringify(resources)},"journaled":${journaled === true}}`
]

/**
 * In: the record if it counts; else all the locks or none; and with them admission. Invariants, those of the lock and of
 * idempotency: a lock key holds one token, and asking again with it is asking for the same lease; the fence is above the
 * clock, above every fence drawn before and above every writer mark, so that the mark never falls and whoever was
 * admitted before can neither end nor be replayed if its key is derived; each resource has an open mark of this saga; the
 * marks it finds stay until it succeeds. Held: nothing is taken, and the waiting marks outlive the leases in the way.
 */
export const enter = script(
  (entry: Entry, token: string, lease: number, lives: number) => [
    ...entry.keys,
    JSON.stringify([
      entry.names.length,
      token,
      lease,
      lives,
      entry.request.derived,
      entry.request.unreadable ?? "",
      entry.request.replay !== false,
      entry.request.sagaId,
      ...markAround(entry.request)
    ])
  ],
  {
    numberOfKeys,
    lua: `${ARGUMENTS}${finding(FIRST)}
if A[7] then
  local found = find(A[5], A[6])
  if found then return found end
end
local wait, taken = -1, {}
for i = 3, last, 3 do
  if redis.call('SET', KEYS[i], A[2], 'NX', 'PX', A[3]) then
    taken[#taken + 1] = KEYS[i]
  elseif redis.call('GET', KEYS[i]) == A[2] then
    redis.call('PEXPIRE', KEYS[i], A[3])
  else
    local left = redis.call('PTTL', KEYS[i])
    if left < 0 then left = A[3] end
    redis.call('SET', KEYS[i + 2], '1', 'PX', left + 1000)
    if left > wait then wait = left end
  end
end
if wait >= 0 then
  if #taken > 0 then redis.call('DEL', unpack(taken)) end
  return {'held', tostring(wait)}
end
local before = {}
for i = 4, last, 3 do before[#before + 1] = KEYS[i] end
for i = first, #KEYS, 2 do before[#before + 1] = KEYS[i] end
local time = redis.call('TIME')
local drawn = time[1] * 1000000 + time[2]
for _, one in ipairs(redis.call('MGET', unpack(before))) do
  if one and tonumber(one) >= drawn then drawn = one + 1 end
end
local fence = string.format('%.0f', drawn)
for i = 4, last, 3 do redis.call('SET', KEYS[i], fence, 'PX', ${FENCE_LIVES}) end
local answer = {'admitted', fence}
for i = first, #KEYS, 2 do
  redis.call('SET', KEYS[i], fence, 'PX', A[4])
  local marks = redis.call('HGETALL', KEYS[i + 1])
  for m = 1, #marks, 2 do
    if marks[m] ~= A[8] then answer[#answer + 1] = marks[m + 1] end
  end
  redis.call('HSET', KEYS[i + 1], A[8], A[9] .. fence .. A[10])
end
return answer`
  }
).withReturnType<
  | Exclude<Found, readonly ["none"]>
  | readonly ["held", string]
  | readonly ["admitted", string, ...ReadonlyArray<string>]
>()

/**
 * Out: the end, and the release with it. Invariants: only the saga admitted last to all the resources ends; a
 * successor's record, marks and lock are never touched; a success has dealt with the marks it found. Since the lock
 * passes on with it, an end leaves a trace: whoever lost the reply may ask again though others were admitted since, and
 * nothing changes. Refused it returns 0 and releases nothing, for there is something to undo under the lock.
 */
export const leave = script(
  (entry: Entry, token: string, fence: number, lives: number, ending: Ending) => [
    ...entry.keys,
    JSON.stringify([
      entry.names.length,
      token,
      `${fence}`,
      lives,
      entry.request.sagaId,
      entry.request.fingerprint,
      entry.request.replay === false ? "Nothing" : ending._tag,
      ending._tag !== "Nothing"
    ]),
    ending._tag === "Result" ? ending.text : ""
  ],
  {
    numberOfKeys,
    lua: `${ARGUMENTS}${marking(FIRST)}${RELEASE}
local kept = A[7] ~= 'Nothing'
if writers_are(A[3]) then
  for i = first + 1, #KEYS, 2 do
    if A[8] then redis.call('DEL', KEYS[i]) else redis.call('HDEL', KEYS[i], A[5]) end
  end
  if kept then
    redis.call('DEL', KEYS[1])
    local text = A[7] == 'Result' and { 'text', ARGV[2] } or {}
    redis.call('HSET', KEYS[1], 'saga', A[5], 'print', A[6], 'fence', A[3], unpack(text))
    redis.call('PEXPIRE', KEYS[1], A[4])
  end
  redis.call('SET', KEYS[2], A[3], 'PX', ${TRACE_LIVES})
elseif redis.call('GET', KEYS[2]) ~= A[3] then
  if redis.pcall('HGET', KEYS[1], 'saga') ~= A[5] then return 0 end
end
release(A[2], kept and KEYS[1])
return 1`
  }
).withReturnType<0 | 1>()

/**
 * Takes back an admission that nothing came of. While another holds a lock of it, its marks are left for that one to
 * find: they may be those of a later admission of the same saga.
 */
export const withdraw = script(
  (entry: Entry, token: string) => [...entry.keys, JSON.stringify([entry.names.length, token, entry.request.sagaId])],
  {
    numberOfKeys,
    lua: `${ARGUMENTS}${RELEASE}
local passed = false
for i = 3, last, 3 do
  local token = redis.call('GET', KEYS[i])
  if token and token ~= A[2] then passed = true end
end
if not passed then
  for i = last + 2, #KEYS, 2 do redis.call('HDEL', KEYS[i], A[3]) end
end
release(A[2])
return 1`
  }
).withReturnType<1>()
