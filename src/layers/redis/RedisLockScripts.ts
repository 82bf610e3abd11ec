/**
 * The lock's atomic steps. Each takes, per resource, its lock, fence and waiting keys in this order; all of one script
 * share a hash tag.
 */
import { script } from "effect/persistence/Redis"
import { fenceKey, lockKey, waitingKey } from "./RedisKeys.ts"

const keys = (resources: ReadonlyArray<string>) =>
  resources.flatMap((resource) => [lockKey(resource), fenceKey(resource), waitingKey(resource)])
const count = (resources: ReadonlyArray<string>) => resources.length * 3

/** Fence keys may expire: a new fence is above the clock, which is above every old one. */
export const FENCE_LIVES = 7 * 24 * 3600 * 1000

/** A fence above the last one of each resource, above the clock in microseconds, and at least `least`; kept for all. */
const DRAW = `
local function draw(least)
  local time = redis.call('TIME')
  local fence = math.max(least, tonumber(time[1]) * 1000000 + tonumber(time[2]))
  for i = 2, #KEYS, 3 do
    local last = tonumber(redis.call('GET', KEYS[i]) or '0')
    if last >= fence then fence = last + 1 end
  end
  local text = string.format('%.0f', fence)
  for i = 2, #KEYS, 3 do redis.call('SET', KEYS[i], text, 'PX', ${FENCE_LIVES}) end
  return text
end
`

/**
 * Takes all the resources or none. Invariant: a lock key holds one token, and only that token's holder has it. Asking
 * again with the token that holds is asking for the same lease. Returns the fence; or how long the longest lease in
 * the way lasts, in milliseconds, and whose it is. The waiting mark outlives that, so the release will be announced.
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
    lua: `${DRAW}
local wait, holder = -1, ''
for i = 1, #KEYS, 3 do
  local token = redis.call('GET', KEYS[i])
  if token and token ~= ARGV[1] then
    local left = redis.call('PTTL', KEYS[i])
    if left < 0 then left = tonumber(ARGV[2]) end
    redis.call('SET', KEYS[i + 2], '1', 'PX', left + 1000)
    if left > wait then wait, holder = left, token end
  end
end
if wait >= 0 then return {0, tostring(wait), holder} end
for i = 1, #KEYS, 3 do redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2]) end
return {1, draw(tonumber(ARGV[3]))}`
  }
).withReturnType<readonly [1, string] | readonly [0, string, string]>()

/** Prolongs all or none. Returns 0 when any of them is missing or another's. */
export const renew = script(
  (resources: ReadonlyArray<string>, token: string, lease: number) => [...keys(resources), token, lease],
  {
    numberOfKeys: count,
    lua: `
for i = 1, #KEYS, 3 do
  if redis.call('GET', KEYS[i]) ~= ARGV[1] then return 0 end
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
    lua: `
local freed = {}
for i = 1, #KEYS, 3 do
  if redis.call('GET', KEYS[i]) == ARGV[1] then
    redis.call('DEL', KEYS[i])
    if redis.call('DEL', KEYS[i + 2]) == 1 then freed[#freed + 1] = ARGV[2 + (i + 2) / 3] end
  end
end
if #freed > 0 then redis.call('PUBLISH', ARGV[2], cjson.encode(freed)) end
return #freed`
  }
).withReturnType<number>()

/** With a token: only while it holds. Without one: for anybody. */
const HELD = `
local function held()
  if ARGV[1] ~= '' then
    for i = 1, #KEYS, 3 do
      if redis.call('GET', KEYS[i]) ~= ARGV[1] then return false end
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
