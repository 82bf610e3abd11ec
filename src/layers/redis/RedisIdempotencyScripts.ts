/**
 * The atomic steps of idempotency. A record is a text (see `Records`) that begins with the fence of the saga that wrote
 * it; who was admitted to a resource stands in its ledger. All keys of one script are on one node: those of a single
 * Redis, or of one hash tag of a cluster.
 */
import { script } from "effect/persistence/Redis"
import type { Ending, IdempotencyRequest } from "../../services/Idempotency.ts"
import { KEEP, LAST_ADMITTED, markOf, OTHERS } from "./Ledger.ts"
import { recordText } from "./Records.ts"
import { ledgerKey } from "./RedisKeys.ts"

/** What one script is about: some of a request's resources, and its record if that is on the same node. */
export interface Part {
  readonly record: string | undefined
  readonly resources: ReadonlyArray<string>
}

const keys = (part: Part) => [
  ...(part.record === undefined ? [] : [part.record]),
  ...part.resources.map((resource) => ledgerKey(resource))
]
const count = (part: Part) => (part.record === undefined ? 0 : 1) + part.resources.length
const flag = (value: boolean) => (value ? "1" : "0")

const WRITERS = `${LAST_ADMITTED}
local function writers_are(first, fence)
  for i = first, #KEYS do
    if last_admitted(redis.call('GET', KEYS[i])) ~= fence then return false end
  end
  return true
end
`
/**
 * The record, if it counts: a derived one only while the last saga admitted to each resource is the one that wrote it,
 * if its result was kept, and unless that is the very text that was found unreadable. The ledgers begin at `first`.
 */
export const FIND = `${WRITERS}
local function find(first, derived, unreadable)
  local text = redis.pcall('GET', KEYS[1])
  if not text then return nil end
  if not derived then return {'found', text.err and '' or text} end
  local fence = not text.err and string.match(text, '^(%d+)\\n[^\\n]*\\n[^\\n]*\\n')
  if not fence or not writers_are(first, fence) then return nil end
  if unreadable and unreadable ~= '' and string.sub(text, -#unreadable - 1) == '\\n' .. unreadable then return nil end
  return {'found', text}
end
`

export type Found = readonly ["none"] | readonly ["found", string]

export const lookup = script(
  (part: Part, request: IdempotencyRequest) => [...keys(part), flag(request.derived), request.unreadable ?? ""],
  { numberOfKeys: count, lua: `${FIND} return find(2, ARGV[1] == '1', ARGV[2]) or {'none'}` }
).withReturnType<Found>()

/** Whether the last saga admitted to each resource had this fence. */
export const writersAre = script(
  (part: Part, fence: string) => [...keys(part), flag(part.record !== undefined), fence],
  {
    numberOfKeys: count,
    lua: `${WRITERS} return writers_are(ARGV[1] + 1, ARGV[2]) and 1 or 0`
  }
).withReturnType<0 | 1>()

/**
 * The second look, and admission. Invariant: after it, each resource's ledger names this lease's fence, so every derived
 * record made before is void and nobody admitted before can end; and it has a mark of this saga. The fence in a ledger
 * never falls: an owner that comes late is refused or, without exclusion, admitted without a mark. The marks it finds stay
 * until it succeeds, so that they are found again if it is asked again or dies in its turn.
 */
export const begin = script(
  (part: Part, request: IdempotencyRequest, fence: number, lives: number, exclusive: boolean) => [
    ...keys(part),
    flag(part.record !== undefined),
    flag(request.derived),
    request.unreadable ?? "",
    flag(part.record !== undefined && request.replay !== false),
    fence,
    lives,
    markOf(request),
    flag(exclusive)
  ],
  {
    numberOfKeys: count,
    lua: `${FIND}${OTHERS}${KEEP}
local first, exclusive = ARGV[1] + 1, ARGV[8] == '1'
if ARGV[4] == '1' then
  local found = find(first, ARGV[2] == '1', ARGV[3])
  if found then return found end
end
local ledgers, late = {}, {}
for i = first, #KEYS do
  ledgers[i] = redis.call('GET', KEYS[i])
  late[i] = tonumber(last_admitted(ledgers[i]) or '0') > tonumber(ARGV[5])
  if late[i] and exclusive then return {'refused'} end
end
local answer = {'admitted'}
for i = first, #KEYS do
  if not late[i] then
    local marks = others(ledgers[i], ARGV[7])
    if exclusive then
      for _, mark in ipairs(marks) do answer[#answer + 1] = mark end
      table.insert(marks, 1, ARGV[5] .. ARGV[7])
    end
    keep(KEYS[i], ARGV[5], marks, ARGV[6])
  end
end
return answer`
  }
).withReturnType<
  Exclude<Found, readonly ["none"]> | readonly ["admitted", ...ReadonlyArray<string>] | readonly ["refused"]
>()

/**
 * The end. Invariant: only the saga admitted last to all the resources ends; a successor's record and marks are never
 * touched. A success has dealt with the marks it found. Refused it returns the record: if it is the saga's own, it has ended
 * before.
 */
export const end = script(
  (part: Part, request: IdempotencyRequest, fence: number, lives: number, ending: Ending) => [
    ...keys(part),
    flag(part.record !== undefined),
    fence,
    markOf(request),
    flag(ending._tag !== "Nothing"),
    part.record === undefined || request.replay === false ? "" : recordText(request, String(fence), ending),
    lives
  ],
  {
    numberOfKeys: count,
    lua: `${WRITERS}${OTHERS}${KEEP}
local first = ARGV[1] + 1
if not writers_are(first, ARGV[2]) then
  local text = first == 2 and redis.pcall('GET', KEYS[1])
  if not text or text.err then return {'refused', ''} end
  return {'refused', text}
end
for i = first, #KEYS do
  local ledger = redis.call('GET', KEYS[i])
  local before, marks = others(ledger, ''), others(ledger, ARGV[3])
  if #before > #marks and ARGV[4] == '1' then marks = {} end
  keep(KEYS[i], ARGV[2], marks, ARGV[6])
end
if ARGV[5] ~= '' then redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[6]) end
return {'ended'}`
  }
).withReturnType<readonly ["ended"] | readonly ["refused", string]>()
