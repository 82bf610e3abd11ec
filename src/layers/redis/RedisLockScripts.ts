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
const FENCE_LIVES = 7 * 24 * 3600 * 1000

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
 * again with the token that holds is asking for the same lease. Returns the fence, or the longest remaining lease.
 */
export const acquire = script(
  (resources: ReadonlyArray<string>, token: string, lease: number, least: number, exclusive: 0 | 1) => [
    ...keys(resources),
    token,
    lease,
    least,
    exclusive
  ],
  {
    numberOfKeys: count,
    lua: `${DRAW}
if ARGV[4] == '0' then return {1, draw(tonumber(ARGV[3]))} end
local wait = -1
for i = 1, #KEYS, 3 do
  local holder = redis.call('GET', KEYS[i])
  if holder and holder ~= ARGV[1] then
    redis.call('SET', KEYS[i + 2], '1', 'PX', ARGV[2])
    wait = math.max(wait, redis.call('PTTL', KEYS[i]))
  end
end
if wait >= 0 then return {0, tostring(wait)} end
for i = 1, #KEYS, 3 do redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2]) end
return {1, draw(tonumber(ARGV[3]))}`
  }
).withReturnType<readonly [0 | 1, string]>()

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
if #freed > 0 then redis.call('PUBLISH', ARGV[2], table.concat(freed, '\\n')) end
return #freed`
  }
).withReturnType<number>()

/** A fresh fence for a lease that is still held (or, without exclusion, for anybody); an empty text when it is not. */
export const advance = script(
  (resources: ReadonlyArray<string>, token: string, least: number, exclusive: 0 | 1) => [
    ...keys(resources),
    token,
    least,
    exclusive
  ],
  {
    numberOfKeys: count,
    lua: `${DRAW}
if ARGV[3] == '1' then
  for i = 1, #KEYS, 3 do
    if redis.call('GET', KEYS[i]) ~= ARGV[1] then return '' end
  end
end
return draw(tonumber(ARGV[2]))`
  }
).withReturnType<string>()
