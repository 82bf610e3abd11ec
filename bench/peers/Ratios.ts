/** What a run of the peer benchmark says of us: a table of all, our ratios to the others, and what went wrong. */
import { Option, Schema } from "effect"

const Time = Schema.NullOr(Schema.Number)
const Rate = Schema.Struct({ opsPerSec: Time, failed: Schema.Number })
const Tally = Schema.Record(Schema.String, Schema.Number)

const Measured = Schema.Struct({
  first: Schema.Struct({ p50: Time, cpuMs: Time }),
  repeat: Schema.Struct({ p50: Time, different: Schema.Number }),
  throughput: Schema.Struct({ "1": Rate, "8": Rate, "64": Rate }),
  chaos: Schema.Struct({ ms: Time, exact: Schema.String, errors: Tally }),
  hot: Schema.Struct({ ms: Time, executions: Time, maxWriters: Time, failed: Schema.Number, tau: Time, errors: Tally }),
  fail: Schema.Struct({ p50: Time, leftover: Schema.Number, notRejected: Schema.Number }),
  phaseErrors: Schema.Array(Schema.Struct({ phase: Schema.String, error: Schema.String }))
})
type Measured = typeof Measured.Type

const Machine = Schema.Struct({ secs: Schema.Number, foreignPct: Schema.Number, stealPct: Schema.Number })

export const Results = Schema.fromJsonString(
  Schema.Struct({
    meta: Schema.Struct({ notStarted: Schema.Record(Schema.String, Schema.String) }),
    configs: Schema.Struct({
      "sync_commit=on": Schema.Struct({
        contenders: Schema.Record(Schema.String, Measured),
        machine: Schema.optionalKey(Schema.Array(Machine))
      })
    })
  })
)
type Results = typeof Results.Type

const contenders = (results: Results) => results.configs["sync_commit=on"].contenders

/** Of two figures; `null` where one was not measured. */
const over = (one: number | null | undefined, other: number | null | undefined) =>
  typeof one === "number" && typeof other === "number" && other > 0 ? Number((one / other).toFixed(3)) : null

/**
 * Each is a ratio of effect-saga to `limit` in the same run, of median times unless said; `null` where not measured.
 * `throughput64` is of operations a second at 64 at once, `cpu` of CPU milliseconds a first write, `hotFifo` the
 * harness's Kendall tau (1: order of arrival). The journals' first writes are to `limit` too, the last two are of the
 * SQL journal's `throughput64` to that of the named engine.
 */
export const ratios = (results: Results) => {
  const { dbos, "effect-saga": saga, limit, restate, ...others } = contenders(results)
  const [redis, sql] = [others["effect-saga-journal-redis"], others["effect-saga-journal-sql"]]
  const rate = (one: Measured | undefined) => one?.throughput["64"].opsPerSec
  return {
    first: over(saga?.first.p50, limit?.first.p50),
    repeat: over(saga?.repeat.p50, limit?.repeat.p50),
    mix: over(saga?.chaos.ms, limit?.chaos.ms),
    hot: over(saga?.hot.ms, limit?.hot.ms),
    hotFifo: saga?.hot.tau ?? null,
    failure: over(saga?.fail.p50, limit?.fail.p50),
    throughput64: over(rate(saga), rate(limit)),
    cpu: over(saga?.first.cpuMs, limit?.first.cpuMs),
    journalRedisFirst: over(redis?.first.p50, limit?.first.p50),
    journalSqlFirst: over(sql?.first.p50, limit?.first.p50),
    journalSqlVsDbos: over(rate(sql), rate(dbos)),
    journalSqlVsRestate: over(rate(sql), rate(restate))
  }
}

const wrong = (one: Measured): ReadonlyArray<string> => {
  const refused = Object.values(one.throughput).reduce((sum, { failed }) => sum + failed, 0)
  const [exact, of] = one.chaos.exact.split("/")
  const errors = [...Object.entries(one.chaos.errors), ...Object.entries(one.hot.errors)]
  const checks: ReadonlyArray<readonly [boolean, string]> = [
    [one.repeat.different > 0, `${one.repeat.different} repeats differ from the first answer`],
    [refused > 0, `${refused} of the throughput phases failed`],
    [exact !== of, `the rows of ${one.chaos.exact} mixes are exact`],
    [one.hot.maxWriters !== 1, `${one.hot.maxWriters} writers were at one key at once`],
    [one.hot.executions !== 50, `${one.hot.executions} of 50 keys were written`],
    [one.hot.failed > 0, `${one.hot.failed} of the hot key failed`],
    [one.fail.leftover > 0, `${one.fail.leftover} failures left rows behind`],
    [one.fail.notRejected > 0, `${one.fail.notRejected} failures were not told`]
  ]
  return [
    ...checks.filter(([is]) => is).map(([, what]) => what),
    ...errors.map(([error, times]) => `${times} times "${error}"`),
    ...one.phaseErrors.map(({ error, phase }) => `${phase}: ${error}`)
  ]
}

/** What our contenders got wrong, and who of all did not start. */
export const faults = (results: Results): ReadonlyArray<string> => [
  ...Object.entries(results.meta.notStarted).map(([name, why]) => `${name} did not start: ${why}`),
  ...Object.entries(contenders(results))
    .filter(([name]) => name.startsWith("effect-saga"))
    .flatMap(([name, one]) => wrong(one).map((what) => `${name}: ${what}`))
]

const show = (figure: number | null, digits = 2) =>
  Option.match(Option.fromNullOr(figure), { onNone: () => "-", onSome: (some) => some.toFixed(digits) })

export const table = (results: Results): string => {
  const head = ["contender", "first", "CPU", "repeat", "ops/s 64", "mix", "hot", "tau", "failure", "writes", "exact"]
  const rows = Object.entries(contenders(results)).map(([name, one]) => [
    name,
    show(one.first.p50),
    show(one.first.cpuMs),
    show(one.repeat.p50),
    show(one.throughput["64"].opsPerSec, 0),
    show(one.chaos.ms, 1),
    show(one.hot.ms, 1),
    show(one.hot.tau),
    show(one.fail.p50),
    show(one.hot.executions, 0),
    one.chaos.exact
  ])
  const line = ([name = "", ...cells]: ReadonlyArray<string>) =>
    name.padEnd(27) + cells.map((cell) => cell.padStart(10)).join("")
  const busy = (results.configs["sync_commit=on"].machine ?? []).map(({ foreignPct }) => foreignPct.toFixed(0))
  return [
    "median milliseconds; CPU of the process per first write; writes: of the 50 keys at the hot resource",
    ...[head, ...rows].map(line),
    `other work took ${busy.join(", ")} percent of a core in the rounds`
  ].join("\n")
}
