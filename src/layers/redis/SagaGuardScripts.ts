/**
 * The fused guard's atomic steps: lock and idempotency in one script each, on the keys of both. The keys of all three
 * are the same: the record, the trace of the end, per lock its own and its waiting key, per resource of the saga its
 * fence key, and then per resource its writer and open keys. On a cluster all share a hash tag.
 */
import { script } from "effect/persistence/Redis"
import type { Ending, IdempotencyRequest } from "../../services/Idempotency.ts"
import { recordText } from "./Records.ts"
import { type Found, finding } from "./RedisIdempotencyScripts.ts"
import { journalKey } from "./RedisJournalScripts.ts"
import { endedKey, FENCE, LOCK, OPEN, RELEASED, recordKey, tagged, tagIn, WAITING, WRITER } from "./RedisKeys.ts"
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
  const tails = names.map(tagged)
  const own = request.resources.map((resource) => tails[names.indexOf(resource)] ?? tagged(resource))
  const keys = [record, endedKey(tagIn(own[0] ?? record), request.sagaId)]
  for (const tail of tails) keys.push(LOCK + tail, WAITING + tail)
  for (const tail of own) keys.push(FENCE + tail)
  for (const tail of own) keys.push(WRITER + tail, OPEN + tail)
  return { request, names, keys, record }
}

const numberOfKeys = (entry: Entry) => entry.keys.length
/** How long whoever lost the reply to its end may ask again; longer than any client tries. */
const TRACE_LIVES = 60_000

/** The first argument says how many locks there are. */
const PLACES = `
local last = 2 + 2 * ARGV[1]
local first = last + 1 + math.floor((#KEYS - last) / 3)
local ends = first - 1 + 2 * (first - 1 - last)
`
/** Of the first pair of a writer and an open key. */
const FIRST = "first"

/** Tells that what these lock keys lock is free, and of a record that was stored with it. */
const ANNOUNCE = `
local function announce(locks, record)
  local names = {}
  for i, key in ipairs(locks) do names[i] = string.match(key, '^[^}]*}:(.*)$') end
  if record then names[#names + 1] = record end
  redis.call('PUBLISH', '${RELEASED}', cjson.encode(names))
end
`

/** The mark, without the fence that is only known to the script. */
const markAround = ({ journaled, resources, saga, sagaId }: IdempotencyRequest) => [
  `{"saga":${JSON.stringify(saga)},"sagaId":${JSON.stringify(sagaId)},"fence":`,
  `,"resources":${JSON.stringify(resources)},"journaled":${journaled === true}}`
]

/** Held: for so many milliseconds. Admitted: the fence, and the marks of those that were admitted before. */
export type Answer =
  | Exclude<Found, readonly ["none"]>
  | readonly ["held", string]
  | readonly ["admitted", string, ...ReadonlyArray<string>]

/** In milliseconds. */
export interface Lives {
  readonly lease: number
  readonly record: number
}

/**
 * In: the record if it counts; else all the locks or none; and with them admission. Invariants, those of the lock and of
 * idempotency: a lock key holds one token, and asking again with it is asking for the same lease; the fence is above the
 * clock, above every fence drawn before and above every writer mark, so that the mark never falls and whoever was
 * admitted before can neither end nor be replayed if its key is derived; the fence key is one higher, so that this saga
 * alone can have the next one, to undo with; each resource has an open mark of this saga; the marks it finds stay until
 * it succeeds. Held: nothing is taken, and the waiting marks outlive the leases in the way.
 */
export const enter = script(
  ({ keys, names, request }: Entry, token: string, { lease, record }: Lives) => {
    const given = [
      ...keys,
      names.length,
      token,
      request.replay === false ? "" : request.derived ? "derived" : "caller's"
    ]
    given.push(request.sagaId, ...markAround(request), lease, record)
    given.push(request.unreadable ?? "")
    return given
  },
  {
    numberOfKeys,
    lua: `${PLACES}${finding(FIRST)}
if ARGV[3] ~= '' then
  local found = find(ARGV[3] == 'derived', ARGV[9])
  if found then return found end
end
local wait, taken = -1, {}
for i = 3, last, 2 do
  if redis.call('SET', KEYS[i], ARGV[2], 'NX', 'PX', ARGV[7]) then
    taken[#taken + 1] = KEYS[i]
  elseif redis.call('GET', KEYS[i]) == ARGV[2] then
    redis.call('PEXPIRE', KEYS[i], ARGV[7])
  else
    local left = redis.call('PTTL', KEYS[i])
    if left < 0 then left = tonumber(ARGV[7]) end
    redis.call('SET', KEYS[i + 1], '1', 'PX', left + 1000)
    if left > wait then wait = left end
  end
end
if wait >= 0 then
  if #taken > 0 then redis.call('DEL', unpack(taken)) end
  return {'held', tostring(wait)}
end
local before = {}
for i = last + 1, first - 1 do before[#before + 1] = KEYS[i] end
for i = first, ends, 2 do before[#before + 1] = KEYS[i] end
local time = redis.call('TIME')
local drawn = time[1] * 1000000 + time[2]
for _, one in ipairs(redis.call('MGET', unpack(before))) do
  if one and tonumber(one) >= drawn then drawn = one + 1 end
end
local fence, reserved = string.format('%.0f', drawn), string.format('%.0f', drawn + 1)
for i = last + 1, first - 1 do redis.call('SET', KEYS[i], reserved, 'PX', ${FENCE_LIVES}) end
local answer = {'admitted', fence}
for i = first, ends, 2 do
  redis.call('SET', KEYS[i], fence, 'PX', ARGV[8])
  local marks = redis.call('HGETALL', KEYS[i + 1])
  for m = 1, #marks, 2 do
    if marks[m] ~= ARGV[4] then answer[#answer + 1] = marks[m + 1] end
  end
  redis.call('HSET', KEYS[i + 1], ARGV[4], ARGV[5] .. fence .. ARGV[6])
end
return answer`
  }
).withReturnType<Answer>()

const isItsOwnTrace = (request: IdempotencyRequest, lives: number, ending: Ending) =>
  !request.derived && request.replay !== false && ending._tag !== "Nothing" && lives >= TRACE_LIVES

/**
 * Out: the end, and the release with it. Invariants: only the saga admitted last to all the resources ends; a
 * successor's record, marks and lock are never touched; a success has dealt with the marks it found. Since the lock
 * passes on with it, an end leaves a trace: whoever lost the reply may ask again though others were admitted since, and
 * nothing changes. The record of a caller's key is its own trace, for while it lives nobody writes another. With the
 * owner of a journal it is an end only if that owner has closed it. Refused it returns 0 and releases nothing, for there
 * is something to undo under the lock.
 */
export const leave = script(
  (
    { keys, names, request }: Entry,
    token: string,
    fence: number,
    { record }: Lives,
    ending: Ending,
    owner?: number
  ) => [
    ...keys,
    ...(owner === undefined ? [] : [journalKey(request.sagaId)]),
    names.length,
    token,
    fence,
    request.sagaId,
    ending._tag === "Nothing" ? "" : "success",
    request.replay === false ? "" : recordText(request, fence, ending),
    record,
    owner ?? "",
    isItsOwnTrace(request, record, ending) ? "" : "trace"
  ],
  {
    numberOfKeys: ({ keys }, _token, _fence, _lives, _ending, owner) => keys.length + (owner === undefined ? 0 : 1),
    lua: `${PLACES}${ANNOUNCE}
if ARGV[8] ~= '' then
  local journal = redis.call('HMGET', KEYS[#KEYS], 'owner', 'status')
  if journal[1] ~= ARGV[8] or journal[2] ~= 'finished' then return 0 end
end
local asked = {}
for i = 3, last do asked[#asked + 1] = KEYS[i] end
for i = first, ends, 2 do asked[#asked + 1] = KEYS[i] end
local is, ours = redis.call('MGET', unpack(asked)), true
for i = last - 1, #is do ours = ours and is[i] == ARGV[3] end
local gone = {}
if ours then
  for i = first + 1, ends, 2 do
    if ARGV[5] == '' then redis.call('HDEL', KEYS[i], ARGV[4]) else gone[#gone + 1] = KEYS[i] end
  end
  if ARGV[6] ~= '' then redis.call('SET', KEYS[1], ARGV[6], 'PX', ARGV[7]) end
  if ARGV[9] ~= '' then redis.call('SET', KEYS[2], ARGV[3], 'PX', ${TRACE_LIVES}) end
elseif redis.call('GET', KEYS[2]) ~= ARGV[3] then
  local text = redis.pcall('GET', KEYS[1])
  if not text or text.err or string.match(text, '^%d+\\n[^\\n]*\\n"([^\\n]*)"') ~= ARGV[4] then return 0 end
end
local freed, awaited = {}, false
for i = 1, last - 2, 2 do
  if is[i] == ARGV[2] then
    freed[#freed + 1] = asked[i]
    gone[#gone + 1] = asked[i]
    if is[i + 1] then
      awaited = true
      gone[#gone + 1] = asked[i + 1]
    end
  end
end
if #gone > 0 then redis.call('DEL', unpack(gone)) end
if awaited then announce(freed, ARGV[6] ~= '' and KEYS[1]) end
return 1`
  }
).withReturnType<0 | 1>()

/**
 * Takes back an admission that nothing came of. While another holds a lock of it, its marks are left for that one to
 * find: they may be those of a later admission of the same saga.
 */
export const withdraw = script(
  ({ keys, names, request }: Entry, token: string) => [...keys, names.length, token, request.sagaId],
  {
    numberOfKeys,
    lua: `${PLACES}${ANNOUNCE}
local passed, awaited, freed, gone = false, false, {}, {}
for i = 3, last, 2 do
  local token = redis.call('GET', KEYS[i])
  if token == ARGV[2] then
    freed[#freed + 1] = KEYS[i]
    gone[#gone + 1] = KEYS[i]
    gone[#gone + 1] = KEYS[i + 1]
    awaited = awaited or redis.call('EXISTS', KEYS[i + 1]) == 1
  elseif token then
    passed = true
  end
end
if not passed then
  for i = first + 1, ends, 2 do redis.call('HDEL', KEYS[i], ARGV[3]) end
end
if #gone > 0 then redis.call('DEL', unpack(gone)) end
if awaited then announce(freed) end
return 1`
  }
).withReturnType<1>()
