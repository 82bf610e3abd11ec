import { assert, describe, it } from "vitest"
import { committed, judge, measure, WASTE } from "../../bench/gate/Figures.ts"

const failures = (verdicts: ReturnType<typeof judge>) =>
  verdicts.filter(({ fails }) => fails).map(({ sentence }) => sentence)

describe("the gate", { timeout: 120_000 }, () => {
  it("holds what a saga allocates to the committed figure", async () => {
    const verdicts = judge(await measure(), committed())
    for (const { sentence } of verdicts) console.log(sentence)
    assert.deepStrictEqual(failures(verdicts), [])
  })

  it("fails when each saga allocates 16 KiB more", async () => {
    const figures = committed()
    assert.lengthOf(failures(judge(await measure([WASTE]), figures)), 2)
  })

  it("lets 5 percent pass, no more, and says how to accept it", () => {
    const baseline = { memory: 1000, journal: 2000 }
    assert.deepStrictEqual(failures(judge({ memory: 1050, journal: 2100 }, baseline)), [])
    assert.deepStrictEqual(failures(judge({ memory: 1060, journal: 2000 }, baseline)), [
      "a saga in memory allocates 1060 bytes, 6.0 % more than the committed 1000: " +
        "allocate less, or accept it with npm run gate -- --update"
    ])
  })

  it("says when more than 10 percent were gained", () => {
    const [memory, journal] = judge({ memory: 890, journal: 1900 }, { memory: 1000, journal: 2000 })
    assert.deepStrictEqual(memory, {
      fails: false,
      sentence:
        "a saga in memory allocates 890 bytes, 11.0 % less than the committed 1000: keep that with npm run gate -- --update"
    })
    assert.deepStrictEqual(journal, {
      fails: false,
      sentence: "a saga with a journal in memory allocates 1900 bytes; committed are 2000"
    })
  })
})
