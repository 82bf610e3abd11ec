/** What is not written again, and what must be. */
import { assert, describe, it } from "@effect/vitest"
import type { JournalRecord } from "effect-saga"
import { keep, kept, recordsOf, recordsText } from "../../src/layers/journal/JournalText.ts"
import { started } from "../contract/SagaJournalContract.ts"

const begun = (call: number, input: unknown): JournalRecord => Object.assign({}, started(call), { input })
const body = "b".repeat(300)

describe("the text of a journal", () => {
  it("has a payload that every step gets once, and another input once", () => {
    const has = kept({ sagaId: "1", fence: 1, payload: { id: 1, body } })
    const texts = [0, 1].flatMap((call) => {
      const payloads = recordsText([begun(call, { id: 1, body })], has)
      const others = recordsText([begun(call + 2, { id: 2, body })], has)
      keep(has, others)
      return [payloads.text, others.text]
    })
    assert.deepStrictEqual(
      texts.map((text) => text.includes(body)),
      [false, true, false, false]
    )
    assert.deepStrictEqual(recordsOf(texts, { id: 1, body }), [
      begun(0, { id: 1, body }),
      begun(2, { id: 2, body }),
      begun(1, { id: 1, body }),
      begun(3, { id: 2, body })
    ])
  })

  it("has what an object was when it was written, whatever becomes of it", () => {
    const doc = { id: "1", in: { body } }
    const has = kept({ sagaId: "1", fence: 1, payload: doc })
    const payload: unknown = JSON.parse(has.payload.text)
    const texts: Array<string> = []
    const written: Array<JournalRecord> = []
    for (const [call, id] of ["2", "2", "3", "1"].entries()) {
      doc.id = id
      const text = recordsText([begun(call, doc)], has)
      keep(has, text)
      texts.push(text.text)
      written.push(begun(call, { id, in: { body } }))
    }
    doc.id = "4"
    assert.deepStrictEqual(recordsOf(texts, payload), written)
  })

  it("tells an empty place in a list from what the payload has there", () => {
    const [empty, has] = [[1], kept({ sagaId: "1", fence: 1, payload: [1, 2] })]
    empty.length = 2
    assert.deepStrictEqual(recordsOf([recordsText([begun(0, empty)], has).text], [1, 2]), [begun(0, [1, null])])
  })

  it("bears what JSON cannot say", () => {
    const cycle: { self?: unknown } = {}
    cycle.self = cycle
    const other: { self?: unknown } = {}
    other.self = other
    const has = kept({ sagaId: "1", fence: 1, payload: cycle })
    const payload: unknown = JSON.parse(has.payload.text)
    const odd = [other, 1n, undefined, new Date(0), Number.NaN]
    const text = recordsText(
      odd.map((input, call) => begun(call, input)),
      has
    )
    assert.deepStrictEqual(
      recordsOf([text.text], payload).map((record) => Reflect.get(Object(record), "input")),
      [payload, { unencodable: "1" }, null, new Date(0).toJSON(), null]
    )
  })
})
