/**
 * The fused guard's atomic steps: lock and idempotency in one script each, on the keys of both. Their keys begin with the
 * record and a lock key for each name that is locked; the rest is by resource of the saga, all of one kind together. On a
 * cluster all share a hash tag.
 */
import { script } from "effect/persistence/Redis"
import type { Ending, IdempotencyRequest } from "../../services/Idempotency.ts"
import { KEEP, LAST_ADMITTED, markOf, OTHERS } from "./Ledger.ts"
import { recordText } from "./Records.ts"
import { FIND, type Found } from "./RedisIdempotencyScripts.ts"
import { journalKey } from "./RedisJournalScripts.ts"
import { endedKey, FENCE, LEDGER, LOCK, RELEASED, recordKey, tagged, tagIn } from "./RedisKeys.ts"
import { AWAIT, FENCE_LIVES, IS_OF } from "./RedisLockScripts.ts"

/** A request, and what is worked out from it once; what only a script needs, when it is first sent. */
export class Entry {
  readonly request: IdempotencyRequest
  /** What is locked: sorted, without repeats. */
  readonly names: ReadonlyArray<string>
  readonly record: string
  /** By which its locks are held: no two entries have the same. */
  readonly token: string
  private tails: ReadonlyArray<string> | undefined
  private known: { readonly locks: ReadonlyArray<string>; readonly ledgers: ReadonlyArray<string> } | undefined

  constructor(request: IdempotencyRequest, names: ReadonlyArray<string>, token: string) {
    this.request = request
    this.names = names
    this.record = recordKey(request)
    this.token = token
  }

  /** What the keys of its resources end with. */
  get ownTails(): ReadonlyArray<string> {
    this.tails ??= this.request.resources.map(tagged)
    return this.tails
  }
  get keys() {
    const { names, ownTails, request } = this
    this.known ??= {
      locks: names.map((name) => LOCK + (ownTails[request.resources.indexOf(name)] ?? tagged(name))),
      ledgers: ownTails.map((tail) => LEDGER + tail)
    }
    return this.known
  }
  /** One for each hash tag that its keys have. */
  get tags(): ReadonlySet<string> {
    return new Set([this.record, ...this.keys.locks, ...this.keys.ledgers].map(tagIn))
  }
}

/** How long whoever lost the reply to its end may ask again; longer than any client tries. */
const TRACE_LIVES = 60_000
/** A ledger without marks is kept as long as a fence, and as the records that are void without it. */
const ledgerLives = ({ record }: Lives) => Math.max(record, FENCE_LIVES)

/** Tells that what these lock keys lock is free, and of a record that was stored with it. */
const ANNOUNCE = `
local function announce(locks, record)
  local names = {}
  for i, key in ipairs(locks) do names[i] = string.match(key, '^[^}]*}:(.*)$') end
  if record then names[#names + 1] = record end
  redis.call('PUBLISH', '${RELEASED}', cjson.encode(names))
end
`

/** For so many milliseconds. */
export type Held = readonly ["held", string]
/** Admitted: the fence, and the marks of those that were admitted before. */
export type Answer = Exclude<Found, readonly ["none"]> | Held | readonly ["admitted", string, ...ReadonlyArray<string>]

/** In milliseconds. */
export interface Lives {
  readonly lease: number
  readonly record: number
}

/**
 * In: the record if it counts; else all the locks or none; and with them admission. Invariants, those of the lock and of
 * idempotency: a lock key holds one token, and asking again with it is asking for the same lease; the fence is above the
 * clock, above every fence drawn before and above that of every saga admitted before, by two, so that the fence in a
 * ledger never falls, whoever was admitted before can neither end nor be replayed if its key is derived, and a saga alone
 * can have the fence after its own, to undo with; each resource's ledger has a mark of this saga; the marks it finds stay
 * until it succeeds. Held: nothing is taken, and what is in the way is marked, so that its release is announced.
 */
export const enter = script(
  ({ keys, names, ownTails, record, request, token }: Entry, { lease }: Lives) => {
    const given: Array<string | number> = [record]
    for (const key of keys.locks) given.push(key)
    for (const tail of ownTails) given.push(FENCE + tail)
    for (const key of keys.ledgers) given.push(key)
    given.push(names.length, token, lease, markOf(request))
    given.push(request.replay === false ? "" : request.derived ? "derived" : "caller's")
    if (request.unreadable !== undefined) given.push(request.unreadable)
    return given
  },
  {
    numberOfKeys: ({ names, request }) => 1 + names.length + 2 * request.resources.length,
    lua: `${FIND}${IS_OF}${AWAIT}${OTHERS}
local last = 1 + ARGV[1]
local half = (#KEYS - last) / 2
if ARGV[5] ~= '' then
  local found = find(last + half + 1, ARGV[5] == 'derived', ARGV[6])
  if found then return found end
end
local wait, taken = -1, {}
for i = 2, last do
  if redis.call('SET', KEYS[i], ARGV[2], 'NX', 'PX', ARGV[3]) then
    taken[#taken + 1] = KEYS[i]
  else
    local value = redis.call('GET', KEYS[i])
    if is_of(value, ARGV[2]) then
      redis.call('PEXPIRE', KEYS[i], ARGV[3])
    else
      wait = math.max(wait, await(KEYS[i], value, ARGV[3]))
    end
  end
end
if wait >= 0 then
  if #taken > 0 then redis.call('DEL', unpack(taken)) end
  return {'held', tostring(wait)}
end
local time = redis.call('TIME')
local drawn = time[1] * 1000000 + time[2]
local is = redis.call('MGET', unpack(KEYS, last + 1))
for i = 1, half do
  drawn = math.max(drawn, (tonumber(is[i] or nil) or -1) + 1, (tonumber(last_admitted(is[half + i]) or nil) or -2) + 2)
end
local fence = string.format('%.0f', drawn)
local answer = {'admitted', fence}
for i = 1, half do
  local ledger = fence .. '\\n' .. fence .. ARGV[4]
  if is[half + i] then
    for _, mark in ipairs(others(is[half + i], ARGV[4])) do
      answer[#answer + 1] = mark
      ledger = ledger .. '\\n' .. mark
    end
  end
  redis.call('SET', KEYS[last + half + i], ledger)
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
  ({ keys, names, record, request, token }: Entry, fence: number, lives: Lives, ending: Ending, owner?: number) => {
    const given: Array<string | number> = [record]
    for (const key of keys.locks) given.push(key)
    for (const key of keys.ledgers) given.push(key)
    const traced = !isItsOwnTrace(request, lives.record, ending)
    if (traced) given.push(endedKey(tagIn(keys.ledgers[0] ?? record), request.sagaId))
    if (owner !== undefined) given.push(journalKey(request.sagaId))
    given.push(names.length, token, fence, request.sagaId, lives.record, ledgerLives(lives))
    given.push(request.replay === false ? "" : recordText(request, fence, ending))
    // The mark of whoever leaves nothing is taken out; a success leaves none.
    given.push(ending._tag === "Nothing" ? markOf(request) : "")
    given.push(traced ? 1 : 0)
    if (owner !== undefined) given.push(owner)
    return given
  },
  {
    numberOfKeys: ({ names, request }, _fence, { record }, ending, owner) =>
      1 +
      names.length +
      request.resources.length +
      (isItsOwnTrace(request, record, ending) ? 0 : 1) +
      (owner === undefined ? 0 : 1),
    lua: `${IS_OF}${OTHERS}${KEEP}${ANNOUNCE}
local last = #KEYS - ARGV[9]
if ARGV[10] then
  last = last - 1
  local journal = redis.call('HMGET', KEYS[#KEYS], 'owner', 'status')
  if journal[1] ~= ARGV[10] or journal[2] ~= 'finished' then return 0 end
end
local locks = tonumber(ARGV[1])
local is, ours = redis.call('MGET', unpack(KEYS, 2, last)), true
for i = locks + 1, #is do
  ours = ours and is[i] and (is[i] == ARGV[3] or string.sub(is[i], 1, #ARGV[3] + 1) == ARGV[3] .. '\\n')
end
if ours then
  for i = locks + 1, #is do
    keep(KEYS[i + 1], ARGV[3], ARGV[8] ~= '' and others(is[i], ARGV[8]) or {}, ARGV[6])
  end
  if ARGV[7] ~= '' then redis.call('SET', KEYS[1], ARGV[7], 'PX', ARGV[5]) end
  if ARGV[9] == '1' then redis.call('SET', KEYS[last + 1], ARGV[3], 'PX', ${TRACE_LIVES}) end
elseif ARGV[9] == '0' or redis.call('GET', KEYS[last + 1]) ~= ARGV[3] then
  local text = redis.pcall('GET', KEYS[1])
  if not text or text.err or string.match(text, '^%d+\\n[^\\n]*\\n"([^\\n]*)"') ~= ARGV[4] then return 0 end
end
local freed, awaited = {}, false
for i = 1, locks do
  if is_of(is[i], ARGV[2]) then
    freed[#freed + 1] = KEYS[i + 1]
    awaited = awaited or is[i] ~= ARGV[2]
  end
end
if #freed > 0 then redis.call('DEL', unpack(freed)) end
if awaited then announce(freed, ARGV[7] ~= '' and KEYS[1]) end
return 1`
  }
).withReturnType<0 | 1>()

/**
 * Takes back an admission that nothing came of. While another holds a lock of it, its marks are left for that one to
 * find: they may be those of a later admission of the same saga.
 */
export const withdraw = script(
  ({ keys, names, request, token }: Entry, lives: Lives) => [
    ...keys.locks,
    ...keys.ledgers,
    names.length,
    token,
    markOf(request),
    ledgerLives(lives)
  ],
  {
    numberOfKeys: ({ names, request }) => names.length + request.resources.length,
    lua: `${IS_OF}${OTHERS}${KEEP}${LAST_ADMITTED}${ANNOUNCE}
local locks = tonumber(ARGV[1])
local passed, awaited, freed = false, false, {}
local is = redis.call('MGET', unpack(KEYS))
for i = 1, locks do
  if is_of(is[i], ARGV[2]) then
    freed[#freed + 1] = KEYS[i]
    awaited = awaited or is[i] ~= ARGV[2]
  elseif is[i] then
    passed = true
  end
end
if not passed then
  for i = locks + 1, #KEYS do
    if is[i] then keep(KEYS[i], last_admitted(is[i]), others(is[i], ARGV[3]), ARGV[4]) end
  end
end
if #freed > 0 then redis.call('DEL', unpack(freed)) end
if awaited then announce(freed) end
return 1`
  }
).withReturnType<1>()
