/**
 * The fused guard's atomic steps: lock and idempotency in one script each, on the keys of both. The keys of all three
 * are the same: the record, the trace of the end, per locked resource its lock, fence and waiting keys, per resource of
 * the saga its writer and open keys. On a cluster all share a hash tag.
 */
import { script } from "effect/persistence/Redis"
import type { Ending, IdempotencyRequest } from "../../services/Idempotency.ts"
import { type Found, finding, marking } from "./RedisIdempotencyScripts.ts"
import { endedKey, fenceKey, lockKey, openKey, RELEASED, recordKey, waitingKey, writerKey } from "./RedisKeys.ts"
import { drawing } from "./RedisLockScripts.ts"

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
  for (const name of names) keys.push(lockKey(name), fenceKey(name), waitingKey(name))
  for (const resource of request.resources) keys.push(writerKey(resource), openKey(resource))
  return { request, names, keys, record }
}

const numberOfKeys = (entry: Entry) => entry.keys.length
const flag = (value: boolean | undefined) => (value === true ? "1" : "0")
/** How long whoever lost the reply to its end may ask again; longer than any client tries. */
const TRACE_LIVES = 60_000

/** The first argument says how many resources are locked. */
const KEYS_OF = `
local last = 2 + 3 * tonumber(ARGV[1])
`
const FIRST = "3 + 3 * tonumber(ARGV[1])"

/**
 * Deletes what still holds the token, and nothing else; announces it if somebody waits, and with it the record if one was
 * stored: it is for all who wait for it, the locks are for who comes first.
 */
const RELEASE = `
local function release(token, channel, names, record)
  local freed = {}
  for i = 3, last, 3 do
    if redis.call('GET', KEYS[i]) == token then
      redis.call('DEL', KEYS[i])
      if redis.call('DEL', KEYS[i + 2]) == 1 then freed[#freed + 1] = ARGV[names + (i - 3) / 3] end
    end
  end
  if #freed > 0 then
    if record then freed[#freed + 1] = record end
    redis.call('PUBLISH', channel, cjson.encode(freed))
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
    entry.names.length,
    token,
    lease,
    lives,
    flag(entry.request.derived),
    entry.request.unreadable ?? "",
    flag(entry.request.replay !== false),
    entry.request.sagaId,
    ...markAround(entry.request)
  ],
  {
    numberOfKeys,
    lua: `${KEYS_OF}${finding(FIRST)}${drawing("4", "last")}
if ARGV[7] == '1' then
  local found = find(ARGV[5] == '1', ARGV[6])
  if found then return found end
end
local wait = -1
for i = 3, last, 3 do
  local token = redis.call('GET', KEYS[i])
  if token and token ~= ARGV[2] then
    local left = redis.call('PTTL', KEYS[i])
    if left < 0 then left = tonumber(ARGV[3]) end
    redis.call('SET', KEYS[i + 2], '1', 'PX', left + 1000)
    if left > wait then wait = left end
  end
end
if wait >= 0 then return {'held', tostring(wait)} end
for i = 3, last, 3 do redis.call('SET', KEYS[i], ARGV[2], 'PX', ARGV[3]) end
local least = 0
for i = first, #KEYS, 2 do
  local writer = tonumber(redis.call('GET', KEYS[i]) or '0')
  if writer >= least then least = writer + 1 end
end
local fence = draw(least)
local answer = {'admitted', fence}
for i = first, #KEYS, 2 do
  redis.call('SET', KEYS[i], fence, 'PX', ARGV[4])
  local marks = redis.call('HGETALL', KEYS[i + 1])
  for m = 1, #marks, 2 do
    if marks[m] ~= ARGV[8] then answer[#answer + 1] = marks[m + 1] end
  end
  redis.call('HSET', KEYS[i + 1], ARGV[8], ARGV[9] .. fence .. ARGV[10])
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
    entry.names.length,
    token,
    fence,
    lives,
    entry.request.sagaId,
    entry.request.fingerprint,
    entry.request.replay === false ? "Nothing" : ending._tag,
    ending._tag === "Result" ? ending.text : "",
    flag(ending._tag !== "Nothing"),
    RELEASED,
    ...entry.names
  ],
  {
    numberOfKeys,
    lua: `${KEYS_OF}${marking(FIRST)}${RELEASE}
if writers_are(ARGV[3]) then
  for i = first + 1, #KEYS, 2 do
    local had = redis.call('HDEL', KEYS[i], ARGV[5])
    if had == 1 and ARGV[9] == '1' then redis.call('DEL', KEYS[i]) end
  end
  if ARGV[7] ~= 'Nothing' then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'saga', ARGV[5], 'print', ARGV[6], 'fence', ARGV[3])
    if ARGV[7] == 'Result' then redis.call('HSET', KEYS[1], 'text', ARGV[8]) end
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
  end
  redis.call('SET', KEYS[2], ARGV[3], 'PX', ${TRACE_LIVES})
elseif redis.call('GET', KEYS[2]) ~= ARGV[3] then
  local stored = redis.call('TYPE', KEYS[1]).ok == 'hash' and redis.call('HGET', KEYS[1], 'saga') == ARGV[5]
  if not stored then return 0 end
end
release(ARGV[2], ARGV[10], 11, ARGV[7] ~= 'Nothing' and KEYS[1])
return 1`
  }
).withReturnType<0 | 1>()

/**
 * Takes back an admission that nothing came of. While another holds a lock of it, its marks are left for that one to
 * find: they may be those of a later admission of the same saga.
 */
export const withdraw = script(
  (entry: Entry, token: string) => [
    ...entry.keys,
    entry.names.length,
    token,
    entry.request.sagaId,
    RELEASED,
    ...entry.names
  ],
  {
    numberOfKeys,
    lua: `${KEYS_OF}${RELEASE}
local passed = false
for i = 3, last, 3 do
  local token = redis.call('GET', KEYS[i])
  if token and token ~= ARGV[2] then passed = true end
end
if not passed then
  for i = last + 2, #KEYS, 2 do redis.call('HDEL', KEYS[i], ARGV[3]) end
end
release(ARGV[2], ARGV[4], 5)
return 1`
  }
).withReturnType<1>()
