/**
 * The fused guard's atomic steps: lock and idempotency in one script each, on the keys of both. Their keys begin with the
 * record and a lock key for each name that is locked; the rest is by resource of the saga, all of one kind together. What
 * is locked is the resources, and a caller's key beside them: so their number tells how many there are of each. On a
 * cluster all share a hash tag.
 */
import type { Effect } from "effect"
import * as Redis from "effect/persistence/Redis"
import type { Ending, IdempotencyRequest } from "../../services/Idempotency.ts"
import type { JournalClosing } from "../../services/SagaJournal.ts"
import { KEEP, LAST_ADMITTED, OTHERS } from "./Ledger.ts"
import { recordText } from "./Records.ts"
import { FIND, type Found } from "./RedisIdempotencyScripts.ts"
import { CLOSE } from "./RedisJournalScripts.ts"
import { endedKey, FENCE, LOCK, RELEASED, tagIn } from "./RedisKeys.ts"
import { AWAIT, AWAITED, FENCE_LIVES, IS_OF } from "./RedisLockScripts.ts"
import type { Entry } from "./SagaGuardEntry.ts"

/** How long whoever lost the reply to its end may ask again; longer than any client tries. */
const TRACE_LIVES = 60_000
/** A ledger without marks is kept as long as a fence, and as the records that are void without it. */
const ledgerLives = ({ record }: Lives) => Math.max(record, FENCE_LIVES)

/** Tells that what these lock keys lock is free, and of a record that was stored with it: without the client's prefix. */
const ANNOUNCE = `
local function announce(locks, record)
  local names, at = {}, string.find(locks[1], '${LOCK}{', 1, true)
  for i, key in ipairs(locks) do names[i] = string.match(string.sub(key, at), '^[^}]*}:(.*)$') end
  if record then names[#names + 1] = string.sub(record, at) end
  redis.call('PUBLISH', '${RELEASED}', cjson.encode(names))
end
`

/**
 * Admitted where nothing was there: the fence alone; else the fence, and the marks of those that were admitted before. Held:
 * for so many milliseconds.
 */
export type Answer =
  | string
  | Exclude<Found, readonly ["none"]>
  | readonly ["held", string]
  | readonly ["admitted", fence: string, ...marks: ReadonlyArray<string>]

/** In milliseconds. */
export interface Lives {
  readonly lease: number
  readonly record: number
}

/** What is the same in all calls of one script stands in it: an argument costs the client more than the script. */
const constants = (values: Readonly<Record<string, boolean | number>>) =>
  Object.entries(values)
    .map(([name, value]) => `local ${name} = ${typeof value === "number" ? `'${value}'` : value}\n`)
    .join("")

/**
 * In: the record if it counts; else all the locks or none; and with them admission. Invariants, those of the lock and of
 * idempotency: a lock key holds one token, and asking again with it is asking for the same lease; the fence is above the
 * clock, above every fence drawn before and above that of every saga admitted before, by two, so that the fence in a
 * ledger never falls, whoever was admitted before can neither end nor be replayed if its key is derived, and a saga alone
 * can have the fence after its own, to undo with; each resource's ledger has a mark of this saga; the marks it finds stay
 * until it succeeds. Held: nothing is taken, and what is in the way is marked, so that its release is announced.
 */
const enterScript = (LEASE: number, DERIVED: boolean, REPLAYS: boolean) =>
  Redis.script(
    ({ keys, mark, record, request, token }: Entry) => {
      const given = [record, ...keys.locks]
      for (const tail of keys.tails) given.push(FENCE + tail)
      given.push(...keys.ledgers, token, mark)
      if (request.unreadable !== undefined) given.push(request.unreadable)
      return given
    },
    {
      numberOfKeys: ({ keys }) => 1 + keys.locks.length + 2 * keys.tails.length,
      lua: `${constants({ LEASE, DERIVED, REPLAYS })}
local own = math.floor((#KEYS - 1) / 3)
local last = #KEYS - 2 * own
if redis.call('EXISTS', unpack(KEYS)) == 0 then
  for i = 2, last do redis.call('SET', KEYS[i], ARGV[1], 'PX', LEASE) end
  local time = redis.call('TIME')
  local fence = time[1] .. string.sub('00000' .. time[2], -6)
  for i = last + own + 1, #KEYS do redis.call('SET', KEYS[i], fence .. '\\n' .. fence .. ARGV[2]) end
  return fence
end
${REPLAYS ? FIND : LAST_ADMITTED}${IS_OF}${AWAIT}${OTHERS}
if REPLAYS then
  local found = find(last + own + 1, DERIVED, ARGV[3])
  if found then return found end
end
local wait, taken = -1, {}
for i = 2, last do
  if redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', LEASE) then
    taken[#taken + 1] = KEYS[i]
  else
    local value = redis.call('GET', KEYS[i])
    if is_of(value, ARGV[1]) then
      redis.call('PEXPIRE', KEYS[i], LEASE)
    else
      wait = math.max(wait, await(KEYS[i], value, LEASE))
    end
  end
end
if wait >= 0 then
  if #taken > 0 then redis.call('DEL', unpack(taken)) end
  return {'held', tostring(wait)}
end
local least, marks = 0, {}
local is = redis.call('MGET', unpack(KEYS, last + 1))
for i = 1, own do
  local fence, ledger = is[i], is[own + i]
  if fence then least = math.max(least, fence + 1) end
  if ledger then least = math.max(least, (tonumber(last_admitted(ledger)) or -2) + 2) end
  marks[i] = others(ledger, ARGV[2])
end
local time = redis.call('TIME')
local fence = string.format('%.0f', math.max(least, time[1] * 1000000 + time[2]))
local answer = {'admitted', fence}
for i = 1, own do
  local ledger = fence .. '\\n' .. fence .. ARGV[2]
  for _, other in ipairs(marks[i]) do
    answer[#answer + 1] = other
    ledger = ledger .. '\\n' .. other
  end
  redis.call('SET', KEYS[last + own + i], ledger)
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
 * nothing changes. The record of a caller's key is its own trace, for while it lives nobody writes another. Refused it
 * returns 0 and releases nothing, for there is something to undo under the lock. With the end of a journal that comes
 * first: refused, that is 0 and all; else it is counted too, so that 1 is the journal's end alone, and 2 both.
 */
const leaveScript = (lives: Lives, TRACED: boolean, CLOSES: boolean) =>
  Redis.script(
    (entry: Entry, fence: string, ending: Ending, closing: JournalClosing | undefined) => {
      const { keys, record, request, token } = entry
      const given = [record, ...keys.locks, ...keys.ledgers]
      if (TRACED) given.push(endedKey(tagIn(keys.ledgers[0] ?? record), request.sagaId))
      if (closing !== undefined) given.push(...closing.keys)
      given.push(token, fence)
      given.push(request.replay === false ? "" : recordText(request, fence, ending))
      // The mark of whoever leaves nothing is taken out; a success leaves none.
      if (ending._tag === "Nothing" || closing !== undefined) given.push(ending._tag === "Nothing" ? entry.mark : "")
      if (closing !== undefined) given.push(String(closing.keys.length), ...closing.args)
      return given
    },
    {
      numberOfKeys: ({ keys }, _fence, _ending, closing) =>
        1 + keys.locks.length + keys.ledgers.length + (TRACED ? 1 : 0) + (closing?.keys.length ?? 0),
      lua: `${constants({ TRACED, CLOSES, RECORD_LIVES: lives.record, LEDGER_LIVES: ledgerLives(lives) })}
local last, left = #KEYS, 1
if CLOSES then
  ${CLOSES ? CLOSE : ""}
  last, left = #KEYS - ARGV[5], 2
  if not close(last + 1, #KEYS, 6) then return 0 end
end
if TRACED then last = last - 1 end
local locks = last - 1 - math.floor((last - 1) / 2)
local is, ours = redis.call('MGET', unpack(KEYS, 2, last)), true
for i = locks + 1, #is do
  ours = ours and is[i] and (is[i] == ARGV[2] or string.sub(is[i], 1, #ARGV[2] + 1) == ARGV[2] .. '\\n')
end
if ours then
  local own = ARGV[4] and ARGV[4] ~= '' and ARGV[2] .. '\\n' .. ARGV[2] .. ARGV[4]
  for i = locks + 1, #is do
    if own and is[i] ~= own then
      ${OTHERS}${KEEP}
      keep(KEYS[i + 1], ARGV[2], others(is[i], ARGV[4]), LEDGER_LIVES)
    else
      redis.call('SET', KEYS[i + 1], ARGV[2], 'PX', LEDGER_LIVES)
    end
  end
  if ARGV[3] ~= '' then redis.call('SET', KEYS[1], ARGV[3], 'PX', RECORD_LIVES) end
  if TRACED then redis.call('SET', KEYS[last + 1], ARGV[2], 'PX', ${TRACE_LIVES}) end
elseif not TRACED or redis.call('GET', KEYS[last + 1]) ~= ARGV[2] then
  if ARGV[3] == '' or redis.pcall('GET', KEYS[1]) ~= ARGV[3] then return left - 1 end
end
local freed, awaited = {}, false
for i = 1, locks do
  local awaits = is[i] == ARGV[1] .. '${AWAITED}'
  if awaits or is[i] == ARGV[1] then freed[#freed + 1] = KEYS[i + 1] end
  awaited = awaited or awaits
end
if #freed > 0 then redis.call('DEL', unpack(freed)) end
if awaited then
  ${ANNOUNCE}
  announce(freed, ARGV[3] ~= '' and KEYS[1])
end
return left`
    }
  ).withReturnType<0 | 1 | 2>()

/**
 * Takes back an admission that nothing came of. While another holds a lock of it, its marks are left for that one to
 * find: they may be those of a later admission of the same saga.
 */
const withdrawScript = (lives: Lives) =>
  Redis.script(({ keys, mark, token }: Entry) => [...keys.locks, ...keys.ledgers, token, mark], {
    numberOfKeys: ({ keys }) => keys.locks.length + keys.ledgers.length,
    lua: `${constants({ LEDGER_LIVES: ledgerLives(lives) })}${IS_OF}${OTHERS}${KEEP}${LAST_ADMITTED}${ANNOUNCE}
local locks = #KEYS - math.floor(#KEYS / 2)
local passed, awaited, freed = false, false, {}
local is = redis.call('MGET', unpack(KEYS))
for i = 1, locks do
  if is_of(is[i], ARGV[1]) then
    freed[#freed + 1] = KEYS[i]
    awaited = awaited or is[i] ~= ARGV[1]
  elseif is[i] then
    passed = true
  end
end
if not passed then
  for i = locks + 1, #KEYS do
    if is[i] then keep(KEYS[i], last_admitted(is[i]), others(is[i], ARGV[2]), LEDGER_LIVES) end
  end
end
if #freed > 0 then redis.call('DEL', unpack(freed)) end
if awaited then announce(freed) end
return 1`
  }).withReturnType<1>()

type Kind = "enter" | "leave" | "withdraw"
const kinds = new WeakMap<object, Kind>()
/** Which of the questions a script is, for whoever watches what is asked. */
export const kindOf = (script: object): Kind | undefined => kinds.get(script)
const ofKind = <S extends object>(kind: Kind, script: S): S => {
  kinds.set(script, kind)
  return script
}

type Asked<A> = Effect.Effect<A, Redis.RedisError>

/** What is asked of Redis, each in one round trip. */
export interface Questions {
  readonly enter: (entry: Entry) => Asked<Answer>
  readonly leave: (entry: Entry, fence: string, ending: Ending, closing?: JournalClosing) => Asked<0 | 1 | 2>
  readonly withdraw: (entry: Entry) => Asked<1>
}

export const questionsTo = (redis: Redis.Redis["Service"], lives: Lives): Questions => {
  const entering = (derived: boolean) => {
    const by = (replays: boolean) => redis.eval(ofKind("enter", enterScript(lives.lease, derived, replays)))
    return { looking: by(true), blind: by(false) }
  }
  const leaving = (traced: boolean) => {
    const by = (closes: boolean) => redis.eval(ofKind("leave", leaveScript(lives, traced, closes)))
    return { alone: by(false), closing: by(true) }
  }
  const [derived, callers, traced, itself] = [entering(true), entering(false), leaving(true), leaving(false)]
  return {
    enter: (entry) => {
      const { looking, blind } = entry.request.derived ? derived : callers
      return (entry.request.replay === false ? blind : looking)(entry)
    },
    leave: (entry, fence, ending, closing) => {
      const by = isItsOwnTrace(entry.request, lives.record, ending) ? itself : traced
      return (closing === undefined ? by.alone : by.closing)(entry, fence, ending, closing)
    },
    withdraw: redis.eval(ofKind("withdraw", withdrawScript(lives)))
  }
}
