/**
 * The ledger of a resource, one text: a line with the fence of the saga admitted last, and a line for each saga that was
 * admitted and has not ended, its mark. While it has marks it does not expire.
 */
import { Effect, Schema } from "effect"
import type { IdempotencyError } from "../../schema/IdempotencyError.ts"
import { quoted, quotedAll } from "../../schema/Quoted.ts"
import type { IdempotencyRequest, OpenMark } from "../../services/Idempotency.ts"
import { storeError } from "./Records.ts"

/** A saga's mark without its fence, which only a script may know: a mark is the fence and this. */
export const markOf = ({ journaled, resources, saga, sagaId }: IdempotencyRequest): string => {
  const names = `"saga":${quoted(saga)},"sagaId":${quoted(sagaId)},"resources":${quotedAll(resources)}`
  return ` {${names},"journaled":${journaled === true}}`
}

/** The fence of the saga admitted last, as text. */
export const LAST_ADMITTED = `
local function last_admitted(ledger) return ledger and string.match(ledger, '^%d+') end
`

/** The lines of a ledger, those of one saga left out: by its mark, whatever its fence. */
export const OTHERS = `
local function others(ledger, mark)
  local lines = {}
  for line in string.gmatch(string.match(ledger or '', '\\n(.*)') or '', '[^\\n]+') do
    if string.match(line, '^%d+(.*)$') ~= mark then lines[#lines + 1] = line end
  end
  return lines
end
`

/** Keeps a ledger: for so many milliseconds, or for as long as it has marks. */
export const KEEP = `
local function keep(key, fence, marks, lives)
  if #marks == 0 then
    redis.call('SET', key, fence, 'PX', lives)
  else
    redis.call('SET', key, fence .. '\\n' .. table.concat(marks, '\\n'))
  end
end
`

const Mark = Schema.fromJsonString(
  Schema.Struct({
    saga: Schema.String,
    sagaId: Schema.String,
    resources: Schema.Array(Schema.String),
    journaled: Schema.Boolean
  })
)

const readMark = (line: string): Effect.Effect<OpenMark, Schema.SchemaError> => {
  const end = line.indexOf(" ")
  return Effect.map(Schema.decodeUnknownEffect(Mark)(line.slice(end + 1)), (mark) => ({
    ...mark,
    fence: Number(line.slice(0, end))
  }))
}

export const readMarks = (lines: Iterable<string>): Effect.Effect<ReadonlyArray<OpenMark>, IdempotencyError> =>
  Effect.map(
    Effect.mapError(Effect.forEach(new Set(lines), readMark), storeError),
    // One saga left its mark on each of its resources.
    (marks) => [...new Map(marks.map((one) => [one.sagaId, one])).values()]
  )
