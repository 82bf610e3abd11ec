/** The alert rules, by Prometheus' own tool. */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "vitest"

const promtool = (...args: ReadonlyArray<string>) => spawnSync("promtool", args, { encoding: "utf8" })
const file = (name: string) => fileURLToPath(new URL(`../../ops/${name}`, import.meta.url))
const available = promtool("--version").status === 0

if (!available) {
  const sentence = "promtool CANNOT BE HAD, the tests of the alert rules are skipped: install prometheus"
  if (process.env.CI === "true") throw new Error(sentence)
  console.error(sentence)
}

describe.skipIf(!available)("the alert rules", () => {
  it("are rules that Prometheus takes", () => {
    const { status, stderr } = promtool("check", "rules", file("alerts.yml"))
    assert.strictEqual(status, 0, stderr)
  })

  it("fire after a breaker was open for 5 minutes, and after more than 10 dead letters waited for 10", () => {
    const { status, stderr, stdout } = promtool("test", "rules", file("alerts_test.yml"))
    assert.strictEqual(status, 0, stdout + stderr)
  })
})
