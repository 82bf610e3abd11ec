/**
 * The journal's atomic steps. A journal is one list: its state, what it was opened with as JSON, the payload, and then
 * each time records were written (`JournalText`) when and which. Each resource has a key that names its unfinished saga; a
 * sorted set indexes all journals.
 *
 * The state is a line of owner, status, when it was opened and when the state last changed; that of a finished one tells the
 * outcome too, and then the result, if there is one; that of one which could not be settled is followed by the problem. In
 * the index the unfinished stand below zero, the later opened the further, and the finished above it, by when they ended.
 */
import { script } from "effect/persistence/Redis"
import type { JournalRef, NewJournal } from "../../schema/Journal.ts"
import { quoted, quotedAll } from "../../schema/Quoted.ts"
import type { JournalClosing, JournalEnd } from "../../services/SagaJournal.ts"

export const journalKey = (sagaId: string) => `dtx:journal:{${sagaId}}`
const unfinishedKey = (resource: string) => `dtx:unfinished:${resource}`
/** Saga ids, by time. */
const JOURNALS = "dtx:journals"

// What the scripts have in common is written into each: a function of Lua is made anew by every call that has it. Keys that
// a script makes itself begin as those that it was given: a client may put a prefix before them.

/** What `TIME` says, in milliseconds, as text. */
const millis = (time: string) => `${time}[1] .. string.sub('00000' .. ${time}[2], -6, -4)`
/** Records with the time in seconds and microseconds, which costs less where nothing is reckoned with it. */
const dated = (time: string, records: string) => `${time}[1] .. ' ' .. ${time}[2] .. '\\n' .. ${records}`
/** Whether this is the state of an unfinished journal of this owner, who alone writes it. */
const isOwned = (state: string, owner: string) =>
  `(${state} and string.sub(${state}, 1, #${owner} + 1) == ${owner} .. ' '
  and string.sub(${state}, #${owner} + 2, #${owner} + 10) ~= 'finished ')`
/** Its status, when it was opened, and its problem. */
const parts = (state: string) => `string.match(${state}, '^%d+ (%a+) (%d+) %d+(.*)$')`

/** What a journal is opened with, as JSON. */
const headOf = ({ derived, fingerprint, key, resources, saga, sagaId, version }: NewJournal, fence: string) => {
  const names = `"sagaId":${quoted(sagaId)},"saga":${quoted(saga)},"key":${quoted(key)},"fingerprint":${quoted(fingerprint)}`
  return `{${names},"version":${version},"fence":${fence},"derived":${derived},"resources":${quotedAll(resources)}}`
}

/**
 * Invariant: either all resources name this saga and its journal is there with its first records, or nothing was
 * written. Yields the ids of the unfinished sagas in the way; one whose journal Redis has lost is none.
 */
export const open = script(
  (journal: NewJournal, fence: string, payload: string, records: string) => {
    const { resources, sagaId } = journal
    return [
      journalKey(sagaId),
      JOURNALS,
      ...resources.map(unfinishedKey),
      sagaId,
      fence,
      headOf(journal, fence),
      payload,
      records
    ]
  },
  {
    numberOfKeys: (saga) => 2 + saga.resources.length,
    lua: `
if redis.call('EXISTS', KEYS[1], unpack(KEYS, 3)) > 0 then
  if redis.call('EXISTS', KEYS[1]) == 1 then return {} end
  local others, before = {}, string.sub(KEYS[1], 1, -#ARGV[1] - 2)
  for i = 3, #KEYS do
    local other = redis.call('GET', KEYS[i])
    if other and other ~= ARGV[1] and redis.call('EXISTS', before .. other .. '}') == 1 then
      others[#others + 1] = other
    end
  end
  if #others > 0 then return others end
end
local time = redis.call('TIME')
local at = ${millis("time")}
for i = 3, #KEYS do redis.call('SET', KEYS[i], ARGV[1]) end
local journal = {ARGV[2] .. ' running ' .. at .. ' ' .. at, ARGV[3], ARGV[4]}
if ARGV[5] ~= '[]' then journal[4] = ${dated("time", "ARGV[5]")} end
redis.call('RPUSH', KEYS[1], unpack(journal))
redis.call('ZADD', KEYS[2], '-' .. at, ARGV[1])
return {}`
  }
).withReturnType<ReadonlyArray<string>>()

export const append = script(
  (sagaId: string, owner: string, undoing: boolean, records: string) => [
    journalKey(sagaId),
    owner,
    undoing ? "compensating" : "",
    records
  ],
  {
    numberOfKeys: 1,
    lua: `
local state = redis.call('LINDEX', KEYS[1], 0)
if not ${isOwned("state", "ARGV[1]")} then return 0 end
local time = redis.call('TIME')
if ARGV[3] ~= '[]' then redis.call('RPUSH', KEYS[1], ${dated("time", "ARGV[3]")}) end
if ARGV[2] ~= '' then
  local _, opened, rest = ${parts("state")}
  redis.call('LSET', KEYS[1], 0, ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. opened .. ' ' .. ${millis("time")} .. rest)
end
return 1`
  }
).withReturnType<0 | 1>()

/** The end of a journal as its script is asked for it, or a script that has something else to do too. */
export const closing = (
  { resources, sagaId }: JournalRef,
  owner: string,
  records: string,
  end: JournalEnd,
  retention: number
): JournalClosing => ({
  keys: [journalKey(sagaId), JOURNALS, ...resources.map(unfinishedKey)],
  args: [owner, sagaId, end.result === null ? end.outcome : `${end.outcome}\n${end.result}`, String(retention), records]
})

/**
 * By the keys from one to another, and the arguments from one on. Invariant: it ends once, by its owner; then its resources
 * are free. Asked again, it answers alike. Of the finished in the index, one in sixteen that end sees which have expired.
 */
export const CLOSE = `
local function close(first, last, arg)
  local journal, owner, ended = KEYS[first], ARGV[arg], ARGV[arg + 2]
  local state = redis.call('LINDEX', journal, 0)
  if not ${isOwned("state", "owner")} then
    local by, how = string.match(state or '', '^(%d+) finished %d+ %d+ (%a+)')
    return by == owner and how == string.match(ended, '^%a+')
  end
  local _, opened = ${parts("state")}
  local time = redis.call('TIME')
  local at = ${millis("time")}
  if ARGV[arg + 4] ~= '[]' then redis.call('RPUSH', journal, ${dated("time", "ARGV[arg + 4]")}) end
  redis.call('LSET', journal, 0, owner .. ' finished ' .. opened .. ' ' .. at .. ' ' .. ended)
  for i = first + 2, last do
    if redis.call('GET', KEYS[i]) == ARGV[arg + 1] then redis.call('DEL', KEYS[i]) end
  end
  redis.call('ZADD', KEYS[first + 1], at, ARGV[arg + 1])
  if time[2] % 16 == 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[first + 1], 1, string.format('%.0f', at - ARGV[arg + 3]))
  end
  redis.call('PEXPIRE', journal, ARGV[arg + 3])
  return true
end
`

export const close = script(({ args, keys }: JournalClosing) => [...keys, ...args], {
  numberOfKeys: ({ keys }) => keys.length,
  lua: `${CLOSE}
return close(1, #KEYS, 1) and 1 or 0`
}).withReturnType<0 | 1>()

/** Of those who claim from one owner, one gets it. */
export const claim = script((sagaId: string, from: number, to: number) => [journalKey(sagaId), from, to], {
  numberOfKeys: 1,
  lua: `
local state = redis.call('LINDEX', KEYS[1], 0)
if not ${isOwned("state", "ARGV[1]")} then return 0 end
local status, opened, rest = ${parts("state")}
local time = redis.call('TIME')
local at = ${millis("time")}
redis.call('LSET', KEYS[1], 0, ARGV[2] .. ' ' .. status .. ' ' .. opened .. ' ' .. at .. rest)
return 1`
}).withReturnType<0 | 1>()

export const note = script((sagaId: string, problem: string) => [journalKey(sagaId), problem], {
  numberOfKeys: 1,
  lua: `
local state = redis.call('LINDEX', KEYS[1], 0)
if state and not string.match(state, '^%d+ finished ') then
  redis.call('LSET', KEYS[1], 0, string.match(state, '^[^\\n]*') .. '\\n' .. ARGV[1])
end
return 1`
}).withReturnType<1>()

/** The journal as it is at one moment. */
export const read = script((sagaId: string) => [journalKey(sagaId)], {
  numberOfKeys: 1,
  lua: `return redis.call('LRANGE', KEYS[1], 0, -1)`
}).withReturnType<ReadonlyArray<string>>()

/** All ids: unfinished ones by when they were opened, finished ones by when they ended. */
export const ids = script((unfinishedOnly: boolean) => [JOURNALS, unfinishedOnly ? "1" : "0"], {
  numberOfKeys: 1,
  lua: `
local all = redis.call('ZREVRANGEBYSCORE', KEYS[1], '(0', '-inf')
if ARGV[1] == '0' then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(0', '+inf')) do all[#all + 1] = id end
end
return all`
}).withReturnType<ReadonlyArray<string>>()

/** The unfinished saga of a resource. */
export const unfinished = script((resource: string) => [unfinishedKey(resource)], {
  numberOfKeys: 1,
  lua: `return redis.call('GET', KEYS[1]) or ''`
}).withReturnType<string>()

/** Redis lost the journal and kept its entry in the index. */
export const forget = script((sagaId: string) => [JOURNALS, sagaId], {
  numberOfKeys: 1,
  lua: `return redis.call('ZREM', KEYS[1], ARGV[1])`
}).withReturnType<number>()

/** Removes those that finished before; yields how many. */
export const purge = script((before: number) => [JOURNALS, before], {
  numberOfKeys: 1,
  lua: `
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '(0', '(' .. ARGV[1])
for _, id in ipairs(gone) do
  redis.call('DEL', string.sub(KEYS[1], 1, -2) .. ':{' .. id .. '}')
  redis.call('ZREM', KEYS[1], id)
end
return #gone`
}).withReturnType<number>()
