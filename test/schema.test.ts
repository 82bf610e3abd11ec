/** What errors say, and how keys, hashes and payloads are made. */
import { assert, describe, it } from "@effect/vitest"
import canonicalize from "canonicalize"
import { Duration } from "effect"
import {
  CompensationError,
  DeadLetterError,
  FloorRefused,
  IdempotencyError,
  IdempotencyStoreError,
  InvalidKey,
  InvalidPayload,
  InvalidResource,
  JournalError,
  KeyReused,
  LockError,
  LockLost,
  LockStoreError,
  LockTimeout,
  OutcomeUnknown,
  RecordUnreadable,
  ResourceUnsettled,
  ResultNotKept,
  SagaTimeout,
  StepTimeout
} from "effect-saga"
import fc from "fast-check"
import { canonicalJson } from "../src/schema/CanonicalJson.ts"
import { bucket, derivedUuid } from "../src/schema/Digest.ts"
import { fingerprintOf } from "../src/schema/Fingerprint.ts"
import { invalidKey } from "../src/schema/IdempotencyKey.ts"
import { plainCopy } from "../src/schema/PlainJson.ts"
import { quoted, quotedAll } from "../src/schema/Quoted.ts"
import { resourceNames } from "../src/schema/Resource.ts"
import { scheduleOf, seedOf } from "../src/testing/Fault.ts"

const second = Duration.seconds(1)
const cause = new Error("why")

describe("an error says what was wrong", () => {
  const said: ReadonlyArray<readonly [Error, RegExp]> = [
    [new LockError({ reason: new LockTimeout({ resource: "r", waited: second }) }), /r is held by another.*Try again/],
    [new LockError({ reason: new LockLost({ resource: "r", fence: 7 }) }), /lease 7 on r ended/],
    [
      new LockError({ reason: new ResourceUnsettled({ resource: "r", sagaIds: ["a", "b"] }) }),
      /unfinished sagas.*a, b/
    ],
    [new LockError({ reason: new LockStoreError({ cause }) }), /could not be reached.*why/],
    [new LockError({ reason: new InvalidResource({ problem: "too long" }) }), /too long/],
    [new IdempotencyError({ reason: new KeyReused({ key: "k" }) }), /k was used before.*choose a new key/],
    [new IdempotencyError({ reason: new InvalidKey({ problem: "not printable" }) }), /not printable/],
    [
      new IdempotencyError({ reason: new ResultNotKept({ key: "k", sagaId: "s" }) }),
      /saga s, whose result was not kept/
    ],
    [new IdempotencyError({ reason: new RecordUnreadable({ key: "k", problem: "old" }) }), /cannot be read: old/],
    [new IdempotencyError({ reason: new IdempotencyStoreError({ cause }) }), /could not be reached.*why/],
    [new DeadLetterError({ reason: { _tag: "NotFound", id: "i" } }), /no dead letter i/],
    [
      new DeadLetterError({ reason: { _tag: "NotRedrivable", id: "i", problem: "closed" } }),
      /i cannot be redriven: closed/
    ],
    [new DeadLetterError({ reason: { _tag: "StoreError", cause } }), /could not be reached.*why/],
    [new JournalError({ operation: "append", cause }), /could not append.*why/],
    [new StepTimeout({ step: "a", after: second }), /a did not answer within/],
    [new SagaTimeout({ saga: "A", after: second }), /A did not end within/],
    [new OutcomeUnknown({ sagaId: "s" }), /whether its end was stored is not known/],
    [new InvalidPayload({ saga: "A", problem: "no id" }), /payload of A is not valid: no id/],
    [new FloorRefused({ store: "pg", thing: "1", floor: 9, fence: 8 }), /pg refused 1: its floor 9/],
    [
      new CompensationError({ saga: "A", sagaId: "s", cause, failures: [{ step: "a", deadLetterId: "d", cause }] }),
      /A s failed and could not be undone in: a \(dead letter d\)/
    ]
  ]
  for (const [error, message] of said) {
    it(`${error.name}: ${message.source}`, () => {
      assert.match(error.message, message)
    })
  }
})

describe("canonical JSON", () => {
  it("is the same whatever the order of members, and refuses what JSON cannot carry", () => {
    const one = canonicalJson({ b: [1, { d: null, c: "ü" }], a: 1 })
    assert.isString(one)
    assert.strictEqual(one, canonicalJson({ a: 1, b: [1, { c: "ü", d: null }] }))
    assert.strictEqual(canonicalJson(undefined), "null")
    const cycle: Record<string, unknown> = {}
    cycle.self = cycle
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, "\ud800", cycle, 1n]) {
      assert.instanceOf(canonicalJson(bad), IdempotencyError, String(typeof bad))
      assert.instanceOf(fingerprintOf(bad), IdempotencyError, String(typeof bad))
    }
  })
})

describe("JSON of texts that are mostly small", () => {
  it("is what the engine makes of texts", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary", maxLength: 80 })), (texts) => {
        for (const text of texts) assert.strictEqual(quoted(text), JSON.stringify(text))
        assert.strictEqual(quotedAll(texts), JSON.stringify(texts))
      }),
      { examples: [[["", '"', "\\", "\n", "\u007f", "\ud800", "é", "a".repeat(65)]]] }
    )
  })
})

describe("a payload's fingerprint", () => {
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("__proto__", "toJSON", "10", "9", "a", "\ud800"))
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      text,
      fc.double(),
      fc.integer(),
      fc.constantFrom(null, true, false, undefined, -0, new Date(0), new Map(), new String("a"), () => 1, Symbol("a")),
      fc.constantFrom(Object.create({ a: 1 }), Object.create(null), { toJSON: () => "x" }, { toJSON: () => undefined }),
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(text, tie("value"), { maxKeys: 12 })
    )
  }))
  const canonical = (one: unknown) => {
    try {
      return canonicalize(one) ?? "null"
    } catch {
      return "none"
    }
  }
  const print = (one: unknown) => {
    const of = fingerprintOf(one)
    return typeof of === "string" ? of : "none"
  }

  it("is that of another exactly if their canonical JSON is, whatever the values", () => {
    const [byText, byPrint] = [new Map<string, string>(), new Map<string, string>()]
    const belongs = (form: string, of: string) => {
      assert.strictEqual(byText.get(form) ?? of, of)
      assert.strictEqual(byPrint.get(of) ?? form, form)
      byText.set(form, of)
      byPrint.set(of, form)
    }
    fc.assert(
      fc.property(value, (one) => {
        const form = canonical(one)
        belongs(form, print(one))
        if (form !== "none") belongs(form, print(JSON.parse(form)))
      }),
      { numRuns: 3000 }
    )
    const deep = (depth: number): unknown => (depth === 0 ? 1 : { b: [deep(depth - 1)], a: 0 })
    const long = "é€😀\u0000".repeat(9)
    const texts = ["", "1", "12", "2", "a".repeat(64), "a".repeat(65), long, long.repeat(999), "x".repeat(2 ** 17)]
    const lists = texts.flatMap((one) => texts.map((other) => [one, other]))
    const one = [
      ...texts,
      ...lists,
      1,
      12,
      [1, 2],
      [[1], 2],
      [[1, 2]],
      [],
      [[]],
      {},
      [{}],
      Array(2),
      deep(40),
      deep(200)
    ]
    for (const each of one) belongs(canonical(each), print(each))
    assert.strictEqual(byText.size, byPrint.size)
  })

  it("is of what a getter gives, though it wants one too, and tells of one that throws", () => {
    const nested = {
      get a() {
        print({ c: "while the other is written" })
        return 1
      },
      b: 2
    }
    assert.strictEqual(print(nested), print({ a: 1, b: 2 }))
    const throwing = {
      get a() {
        throw new Error("no")
      }
    }
    assert.instanceOf(fingerprintOf(throwing), IdempotencyError)
    assert.strictEqual(print({ a: 1 }), print({ a: 1 }))
  })

  it("of what is too large is refused, be it texts, or one thing many times over", () => {
    assert.match(String(fingerprintOf(new Array(100).fill("x".repeat(2 ** 23)))), /larger than 64 MiB: store it/)
    let many: unknown = [0]
    for (let i = 0; i < 28; i++) many = [many, many]
    assert.match(String(fingerprintOf(many)), /larger than 64 MiB: store it/)
    assert.isUndefined(plainCopy(many))
  })

  it("stays what it is in all builds, since stores keep it", () => {
    assert.strictEqual(
      print({ text: "é", list: [1, -0.5, null], is: true, no: false, empty: {} }),
      "9216b5818c139e12479069120398de8ac4a099337a08d8964b616b0d24569022"
    )
  })

  it("is of the items that a list has, whatever its iterator gives", () => {
    const list = Object.assign([1, 2], {
      *[Symbol.iterator]() {
        yield 5
      }
    })
    assert.strictEqual(print(list), print([1, 2]))
    assert.deepStrictEqual(plainCopy(list), { json: [1, 2] })
  })

  it("is that of a plain copy, which shares nothing with the value", () => {
    fc.assert(
      fc.property(value, (one) => {
        const copy = plainCopy(one)
        if (copy === undefined) return
        const before = print(one)
        assert.strictEqual(print(copy.json), before)
        assert.isFalse(typeof one === "object" && one !== null && copy.json === one)
        spoil(one)
        assert.strictEqual(print(copy.json), before)
      }),
      { numRuns: 1000 }
    )
    for (const other of [undefined, { a: undefined }, [1n], new Date(0), new Map(), Number.NaN, { toJSON: () => 1 }]) {
      assert.isUndefined(plainCopy(other))
    }
  })

  const spoil = (one: unknown): void => {
    if (typeof one !== "object" || one === null) return
    for (const member of Object.values(one)) spoil(member)
    if (Array.isArray(one)) one.push("spoilt")
    else Object.assign(one, { spoilt: true })
  }
})

describe("keys and names", () => {
  it("are 1 to 255 printable characters", () => {
    for (const good of ["a", " ", "~".repeat(255)]) assert.isUndefined(invalidKey(good))
    for (const bad of ["", "a".repeat(256), "line\nbreak", "ü"]) assert.instanceOf(invalidKey(bad), IdempotencyError)
  })

  it("of resources are sorted, without repeats, neither empty nor endless", () => {
    assert.deepStrictEqual(resourceNames(["b", "a", "b"]), ["a", "b"])
    for (const bad of [[], [""], ["a".repeat(1025)]]) assert.instanceOf(resourceNames(bad), LockError)
  })

  it("derive ids that are UUIDs, equal for equal parts and for no others", () => {
    assert.match(derivedUuid("a", "b"), /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.strictEqual(derivedUuid("a", "b"), derivedUuid("a", "b"))
    assert.notStrictEqual(derivedUuid("a", "b"), derivedUuid("ab", ""))
    assert.isBelow(bucket("any"), 1024)
  })
})

describe("the seed of a schedule", () => {
  it("reads back as what it was made of", () => {
    for (const schedule of [
      { faults: [], second: false },
      {
        faults: [
          { at: 3, fault: "fail" },
          { at: 12, fault: "crashAfter" }
        ],
        second: true
      }
    ] as const) {
      assert.deepStrictEqual(scheduleOf(seedOf(schedule)), schedule)
    }
    for (const bad of ["", "fail", "fail@x", "nothing@1", "fail@1,"]) assert.isUndefined(scheduleOf(bad))
  })
})
