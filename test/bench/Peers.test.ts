/** What is made of a run of the peer benchmark, over the committed run. */
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { Schema } from "effect"
import { assert, describe, it } from "vitest"
import { faults, Results, ratios } from "../../bench/peers/Ratios.ts"

const committed = readFileSync(new URL("../../bench/results/peers.json", import.meta.url), "utf8")
const measured = Schema.decodeUnknownSync(Results)(committed)
const all = measured.configs["sync_commit=on"].contenders

/** The least and the most that each ratio may be. */
const ASKED: Record<string, readonly [number, number]> = {
  first: [0, 1.25],
  repeat: [0, 1.5],
  mix: [0, 1.25],
  hot: [0, 1.25],
  hotFifo: [0.99, 1],
  failure: [0, 1.25],
  throughput64: [0.85, Infinity],
  cpu: [0, 1.4],
  journalRedisFirst: [0, 1.6],
  journalSqlFirst: [0, 3],
  journalSqlVsDbos: [3, Infinity],
  journalSqlVsRestate: [3, Infinity]
}

/** The same run with one contender's figures altered, or without it. */
const altered = (name: string, change: (one: (typeof all)[string]) => unknown) => {
  const { [name]: one, ...others } = all
  assert.isDefined(one)
  const contenders = one === undefined ? {} : { ...others, [name]: change(one) }
  return Schema.decodeUnknownSync(Results)(
    JSON.stringify({ ...measured, configs: { "sync_commit=on": { contenders } } })
  )
}

describe("a run of the peer benchmark", () => {
  it("that is committed holds every figure asked for, and nothing went wrong in it", () => {
    const found = Object.entries(ratios(measured))
    assert.sameMembers(
      found.map(([name]) => name),
      Object.keys(ASKED)
    )
    for (const [name, ratio] of found) {
      const [least, most] = ASKED[name] ?? [0, 0]
      assert.isTrue(ratio !== null && ratio >= least && ratio <= most, `${name} is ${ratio}, not ${least} to ${most}`)
    }
    assert.deepStrictEqual(faults(measured), [])
  })

  it("says of what was not measured null", () => {
    const { journalSqlVsDbos, ...others } = ratios(altered("dbos", () => undefined))
    assert.isNull(journalSqlVsDbos)
    assert.notInclude(Object.values(others), null)
  })

  it("says what ours got wrong, and not what others did", () => {
    const chaos = (exact: string) => (one: (typeof all)[string]) => ({ ...one, chaos: { ...one.chaos, exact } })
    assert.deepStrictEqual(faults(altered("effect-saga", chaos("49/50"))), [
      "effect-saga: the rows of 49/50 mixes are exact"
    ])
    assert.deepStrictEqual(faults(altered("restate", chaos("49/50"))), [])
  })

  it("asks for the folder of the benchmark where it was not told", async () => {
    const { PEERS: _, ...env } = process.env
    const error = await promisify(execFile)(
      process.execPath,
      [fileURLToPath(new URL("../../bench/peers/main.ts", import.meta.url))],
      { env }
    ).then(
      () => assert.fail("it ran"),
      (error: { readonly code: number; readonly stderr: string }) => error
    )
    assert.strictEqual(error.code, 1)
    assert.strictEqual(
      error.stderr.trim(),
      "PEERS is not set: start it as PEERS=/path/to/peers npm run bench:peers, with the folder of the peer benchmark"
    )
  })
})
