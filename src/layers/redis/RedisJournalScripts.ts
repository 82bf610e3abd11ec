/**
 * The journal's atomic steps. A journal is a hash (head: what it was opened with, as JSON; payload, owner, status, ...)
 * and a list of its records, see `JournalText`. Each resource has a key that names its unfinished saga; two sorted sets index all journals by time.
 */
import { script } from "effect/persistence/Redis"
import type { JournalRef, NewJournal } from "../../schema/Journal.ts"
import type { JournalEnd } from "../../services/SagaJournal.ts"

export const journalKey = (sagaId: string) => `dtx:journal:{${sagaId}}`
const recordsKey = (sagaId: string) => `dtx:journal-records:{${sagaId}}`
const unfinishedKey = (resource: string) => `dtx:unfinished:${resource}`
/** Saga ids, by when they were opened. */
const OPEN = "dtx:journals-open"
/** Saga ids, by when they ended. */
const FINISHED = "dtx:journals-finished"

const NOW = `
local function now()
  local time = redis.call('TIME')
  return string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
end
`

/**
 * Invariant: either all resources name this saga and its journal is there with its first records, or nothing was
 * written. Yields the ids of
 * the unfinished sagas in the way; one whose journal Redis has lost is none.
 */
export const open = script(
  ({ payload: _, ...head }: NewJournal, payload: string, records: string) => [
    journalKey(head.sagaId),
    recordsKey(head.sagaId),
    OPEN,
    ...head.resources.map(unfinishedKey),
    head.sagaId,
    head.fence,
    JSON.stringify(head),
    payload,
    records
  ],
  {
    numberOfKeys: (saga) => 3 + saga.resources.length,
    lua: `${NOW}
if redis.call('EXISTS', KEYS[1]) == 1 then return {} end
local others = {}
for i = 4, #KEYS do
  local other = redis.call('GET', KEYS[i])
  if other and other ~= ARGV[1] and redis.call('EXISTS', 'dtx:journal:{' .. other .. '}') == 1 then
    others[#others + 1] = other
  end
end
if #others > 0 then return others end
local at = now()
for i = 4, #KEYS do redis.call('SET', KEYS[i], ARGV[1]) end
if ARGV[5] ~= '[]' then redis.call('RPUSH', KEYS[2], ARGV[5]) end
redis.call('HSET', KEYS[1], 'head', ARGV[3], 'payload', ARGV[4], 'owner', ARGV[2], 'status', 'running',
  'opened', at, 'updated', at)
redis.call('ZADD', KEYS[3], at, ARGV[1])
return {}`
  }
).withReturnType<ReadonlyArray<string>>()

/** Only the owner of an unfinished journal writes it. */
const OWNED = `
local function owned()
  local r = redis.call('HMGET', KEYS[1], 'owner', 'status')
  return r[1] == ARGV[1] and r[2] ~= 'finished' and r
end
`

export const append = script(
  (sagaId: string, owner: number, undoing: boolean, records: string) => [
    journalKey(sagaId),
    recordsKey(sagaId),
    owner,
    undoing ? "compensating" : "",
    records
  ],
  {
    numberOfKeys: 2,
    lua: `${NOW}${OWNED}
local r = owned()
if not r then return 0 end
if ARGV[3] ~= '[]' then redis.call('RPUSH', KEYS[2], ARGV[3]) end
redis.call('HSET', KEYS[1], 'updated', now(), 'status', ARGV[2] ~= '' and ARGV[2] or r[2])
return 1`
  }
).withReturnType<0 | 1>()

/** Invariant: it ends once, by its owner; then its resources are free. Asked again, it answers alike. */
export const close = script(
  ({ resources, sagaId }: JournalRef, owner: number, records: string, end: JournalEnd, retention: number) => [
    journalKey(sagaId),
    recordsKey(sagaId),
    OPEN,
    FINISHED,
    ...resources.map(unfinishedKey),
    owner,
    sagaId,
    end.outcome,
    end.result === null ? "0" : "1",
    end.result ?? "",
    retention,
    records
  ],
  {
    numberOfKeys: (ref: JournalRef) => 4 + ref.resources.length,
    lua: `${NOW}${OWNED}
if not owned() then
  local r = redis.call('HMGET', KEYS[1], 'owner', 'outcome')
  return (r[1] == ARGV[1] and r[2] == ARGV[3]) and 1 or 0
end
if ARGV[7] ~= '[]' then redis.call('RPUSH', KEYS[2], ARGV[7]) end
local at = now()
redis.call('HSET', KEYS[1], 'status', 'finished', 'outcome', ARGV[3], 'updated', at)
if ARGV[4] == '1' then redis.call('HSET', KEYS[1], 'result', ARGV[5]) end
redis.call('HDEL', KEYS[1], 'problem')
for i = 5, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[2] then redis.call('DEL', KEYS[i]) end
end
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('ZADD', KEYS[4], at, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', string.format('%.0f', tonumber(at) - tonumber(ARGV[6])))
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return 1`
  }
).withReturnType<0 | 1>()

/** Of those who claim from one owner, one gets it. */
export const claim = script((sagaId: string, from: number, to: number) => [journalKey(sagaId), from, to], {
  numberOfKeys: 1,
  lua: `${NOW}${OWNED}
if not owned() then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'updated', now())
return 1`
}).withReturnType<0 | 1>()

export const note = script((sagaId: string, problem: string) => [journalKey(sagaId), problem], {
  numberOfKeys: 1,
  lua: `
local status = redis.call('HGET', KEYS[1], 'status')
if status and status ~= 'finished' then redis.call('HSET', KEYS[1], 'problem', ARGV[1]) end
return 1`
}).withReturnType<1>()

export type Read = readonly [
  head: string,
  owner: string,
  status: string,
  outcome: string | null,
  problem: string | null,
  result: string | null,
  opened: string,
  updated: string,
  payload: string,
  records: ReadonlyArray<string>
]

/** The journal and its records as they are at one moment. */
export const read = script((sagaId: string) => [journalKey(sagaId), recordsKey(sagaId)], {
  numberOfKeys: 2,
  lua: `
local r = redis.call('HMGET', KEYS[1], 'head', 'owner', 'status', 'outcome', 'problem', 'result', 'opened', 'updated',
  'payload')
if not r[1] then return {} end
r[10] = redis.call('LRANGE', KEYS[2], 0, -1)
return r`
}).withReturnType<Read | readonly []>()

/** All ids: unfinished ones by when they were opened, finished ones by when they ended. */
export const ids = script((unfinishedOnly: boolean) => [OPEN, FINISHED, unfinishedOnly ? "1" : "0"], {
  numberOfKeys: 2,
  lua: `
local all = redis.call('ZRANGE', KEYS[1], 0, -1)
if ARGV[1] == '0' then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do all[#all + 1] = id end
end
return all`
}).withReturnType<ReadonlyArray<string>>()

/** The unfinished saga of a resource. */
export const unfinished = script((resource: string) => [unfinishedKey(resource)], {
  numberOfKeys: 1,
  lua: `return redis.call('GET', KEYS[1]) or ''`
}).withReturnType<string>()

/** Redis lost the journal and kept its entry in the index. */
export const forget = script((sagaId: string) => [OPEN, FINISHED, sagaId], {
  numberOfKeys: 2,
  lua: `return redis.call('ZREM', KEYS[1], ARGV[1]) + redis.call('ZREM', KEYS[2], ARGV[1])`
}).withReturnType<number>()

/** Removes those that finished before; yields how many. */
export const purge = script((before: number) => [FINISHED, before], {
  numberOfKeys: 1,
  lua: `
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])
for _, id in ipairs(gone) do
  redis.call('DEL', 'dtx:journal:{' .. id .. '}', 'dtx:journal-records:{' .. id .. '}')
  redis.call('ZREM', KEYS[1], id)
end
return #gone`
}).withReturnType<number>()
