/** The figures of the gate, in bytes a saga: how they are measured and how they are judged. */
import { execFile } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { Schema } from "effect"

/** Bytes that one three-step saga allocates in memory, without and with a journal. */
export const Figures = Schema.Struct({ memory: Schema.Number, journal: Schema.Number })
export type Figures = typeof Figures.Type

/** Tells the child to allocate more, which the gate has to notice. */
export const WASTE = "--waste"

/** More than this share above the committed figure fails; twice as much below is worth committing. */
const TOLERANCE = 0.05

const UPDATE = "npm run gate -- --update"

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** The Node of the lock file: another allocates otherwise. */
const NODE = path("../../node_modules/.bin/node")

/** 128 MiB of young generation hold every window; see Measure.ts. */
const FLAGS = ["--expose-gc", "--min-semi-space-size=128", "--max-semi-space-size=128", "--no-opt", "--no-maglev"]

const Windows = Schema.fromJsonString(
  Schema.Struct({ memory: Schema.Array(Schema.Number), journal: Schema.Array(Schema.Number) })
)

const median = (windows: ReadonlyArray<number>): number => {
  const middle = windows.toSorted((a, b) => a - b)[Math.floor(windows.length / 2)]
  if (middle === undefined || windows.length < 3) {
    throw new Error(
      `the heap was collected in all but ${windows.length} windows, so there is no figure: make them smaller`
    )
  }
  return Math.round(middle)
}

/** The same to about a thousandth of a percent from run to run, whatever else the machine does. */
export const measure = async (options: ReadonlyArray<string> = []): Promise<Figures> => {
  const { NODE_OPTIONS: _options, NODE_V8_COVERAGE: _coverage, ...env } = process.env
  const { stdout } = await promisify(execFile)(NODE, [...FLAGS, path("./Measure.ts"), ...options], { env })
  const windows = Schema.decodeUnknownSync(Windows)(stdout)
  return { memory: median(windows.memory), journal: median(windows.journal) }
}

const BASELINE = path("./baseline.json")

export const committed = (): Figures =>
  Schema.decodeUnknownSync(Schema.fromJsonString(Figures))(readFileSync(BASELINE, "utf8"))

export const commit = (figures: Figures) => writeFileSync(BASELINE, `${JSON.stringify(figures, null, 2)}\n`)

export interface Verdict {
  readonly fails: boolean
  readonly sentence: string
}

/** One sentence a figure. */
export const judge = (measured: Figures, baseline: Figures): ReadonlyArray<Verdict> =>
  (
    [
      ["memory", "in memory"],
      ["journal", "with a journal in memory"]
    ] as const
  ).map(([name, where]) => {
    const change = (measured[name] - baseline[name]) / baseline[name]
    const percent = `${Math.abs(change * 100).toFixed(1)} %`
    const bytes = `a saga ${where} allocates ${measured[name]} bytes`
    if (change > TOLERANCE) {
      const sentence = `${bytes}, ${percent} more than the committed ${baseline[name]}: allocate less, or accept it with ${UPDATE}`
      return { fails: true, sentence }
    }
    if (change < -2 * TOLERANCE) {
      const sentence = `${bytes}, ${percent} less than the committed ${baseline[name]}: keep that with ${UPDATE}`
      return { fails: false, sentence }
    }
    return { fails: false, sentence: `${bytes}; committed are ${baseline[name]}` }
  })
