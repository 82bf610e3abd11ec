/**
 * The lock's atomic steps. Each takes, per resource, its lock, fence and ledger keys in this order; all of one script
 * share a hash tag. A lock key holds its holder's token, marked once somebody waits for it.
 */
import { script } from "effect/persistence/Redis"
import { LAST_ADMITTED } from "./Ledger.ts"
import { fenceKey, ledgerKey, lockKey } from "./RedisKeys.ts"

const keys = (resources: ReadonlyArray<string>) =>
  resources.flatMap((resource) => [lockKey(resource), fenceKey(resource), ledgerKey(resource)])
const count = (resources: ReadonlyArray<string>) => resources.length * 3

/** Fence keys may expire: a new fence is above the clock, which is above every old one. */
export const FENCE_LIVES = 7 * 24 * 3600 * 1000

/** What follows the token of a lock that somebody waits for: then its release is announced. */
export const AWAITED = " awaited"

/**
 * A fence above the last one of each resource, above the clock in microseconds, and at least `least`; kept for all. The
 * one after that of the saga admitted last is set aside for it to undo with, see `SagaGuardScripts`.
 */
const DRAW = `${LAST_ADMITTED}
local function draw(least)
  local time = redis.call('TIME')
  local fence = math.max(least, tonumber(time[1]) * 1000000 + tonumber(time[2]))
  for i = 2, #KEYS, 3 do
    local last = redis.call('MGET', KEYS[i], KEYS[i + 1])
    fence = math.max(fence, tonumber(last[1] or '-1') + 1, tonumber(last_admitted(last[2]) or '-2') + 2)
  end
  local text = string.format('%.0f', fence)
  for i = 2, #KEYS, 3 do redis.call('SET', KEYS[i], text, 'PX', ${FENCE_LIVES}) end
  return text
end
`

/** Whether a lock's value is of the token. */
export const IS_OF = `
local function is_of(value, token) return value == token or value == token .. '${AWAITED}' end
`

/** Marks the lock as waited for, if it is not; yields how long it lasts at most, in milliseconds. */
export const AWAIT = `
local function await(key, value, lease)
  if string.sub(value, -${AWAITED.length}) ~= '${AWAITED}' then
    redis.call('SET', key, value .. '${AWAITED}', 'KEEPTTL')
  end
  local left = redis.call('PTTL', key)
  return left < 0 and tonumber(lease) or left
end
`

/**
 * Takes all the resources or none. Invariant: a lock key holds one token, and only that token's holder has it. Asking
 * again with the token that holds is asking for the same lease. Returns the fence; or how long the longest lease in
 * the way lasts, in milliseconds, and whose it is. Whatever is in the way is marked, so its release will be announced.
 */
export const acquire = script(
  (resources: ReadonlyArray<string>, token: string, lease: number, least: number) => [
    ...keys(resources),
    token,
    lease,
    least
  ],
  {
    numberOfKeys: count,
    lua: `${DRAW}${IS_OF}${AWAIT}
local wait, holder, is = -1, '', {}
for i = 1, #KEYS, 3 do
  local value = redis.call('GET', KEYS[i])
  is[i] = value
  if value and not is_of(value, ARGV[1]) then
    local left = await(KEYS[i], value, ARGV[2])
    if left > wait then wait, holder = left, string.gsub(value, '${AWAITED}$', '') end
  end
end
if wait >= 0 then return {0, tostring(wait), holder} end
for i = 1, #KEYS, 3 do redis.call('SET', KEYS[i], is[i] or ARGV[1], 'PX', ARGV[2]) end
return {1, draw(tonumber(ARGV[3]))}`
  }
).withReturnType<readonly [1, string] | readonly [0, string, string]>()

/** Prolongs all or none. Returns 0 when any of them is missing or another's. */
export const renew = script(
  (resources: ReadonlyArray<string>, token: string, lease: number) => [...keys(resources), token, lease],
  {
    numberOfKeys: count,
    lua: `${IS_OF}
for i = 1, #KEYS, 3 do
  if not is_of(redis.call('GET', KEYS[i]), ARGV[1]) then return 0 end
end
for i = 1, #KEYS, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
return 1`
  }
).withReturnType<0 | 1>()

/** Deletes what still holds the token, and nothing else; announces it if somebody waits. */
export const release = script(
  (resources: ReadonlyArray<string>, token: string, channel: string) => [
    ...keys(resources),
    token,
    channel,
    ...resources
  ],
  {
    numberOfKeys: count,
    lua: `${IS_OF}
local awaited = {}
for i = 1, #KEYS, 3 do
  local value = redis.call('GET', KEYS[i])
  if is_of(value, ARGV[1]) then
    redis.call('DEL', KEYS[i])
    if value ~= ARGV[1] then awaited[#awaited + 1] = ARGV[2 + (i + 2) / 3] end
  end
end
if #awaited > 0 then redis.call('PUBLISH', ARGV[2], cjson.encode(awaited)) end
return #awaited`
  }
).withReturnType<number>()

/** With a token: only while it holds. Without one: for anybody. */
const HELD = `${IS_OF}
local function held()
  if ARGV[1] ~= '' then
    for i = 1, #KEYS, 3 do
      if not is_of(redis.call('GET', KEYS[i]), ARGV[1]) then return false end
    end
  end
  return true
end
`

/** A fresh fence, at least `least`; an empty text when the token does not hold. */
export const advance = script(
  (resources: ReadonlyArray<string>, token: string, least: number) => [...keys(resources), token, least],
  {
    numberOfKeys: count,
    lua: `${DRAW}${HELD}
if not held() then return '' end
return draw(tonumber(ARGV[2]))`
  }
).withReturnType<string>()

/** Raises the fences to one drawn elsewhere; they never fall. Returns 0 when the token does not hold. */
export const raise = script(
  (resources: ReadonlyArray<string>, token: string, fence: number) => [...keys(resources), token, fence],
  {
    numberOfKeys: count,
    lua: `${HELD}
if not held() then return 0 end
for i = 2, #KEYS, 3 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') < tonumber(ARGV[2]) then
    redis.call('SET', KEYS[i], ARGV[2], 'PX', ${FENCE_LIVES})
  end
end
return 1`
  }
).withReturnType<0 | 1>()
