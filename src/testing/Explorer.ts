/**
 * Explores what can go wrong in a saga: at every journal write and every attempt of a step the process crashes before
 * or after it, stands still for longer than its lease, does it twice, fails, loses the reply, loses its lock or is
 * interrupted; then another process recovers, also with a second saga on the same resource in between.
 *
 * **Details**
 *
 * Each schedule starts from fresh stores and runs in virtual time. Afterwards the stores must be as if the sagas had run
 * whole or not at all, one after another: what the caller was told to have succeeded is there, what he was told to have
 * failed is not; else open dead letters explain it, and redriving them mends it. No journal stays unfinished, and no
 * step starts in a process after its undoing has begun. All single faults are tried, and all pairs of a step that
 * fails and a fault after it.
 *
 * **Gotchas**
 *
 * The world must be deterministic. Its stores must refuse writes below their floor, or a process that stood still is
 * reported as what it is: a violation.
 *
 * **Example**
 *
 * ```ts
 * import { Context, Effect, Layer, Logger, Schema } from "effect"
 * import { Saga, Step } from "effect-saga"
 * import { Explorer } from "effect-saga/testing"
 *
 * class Counter extends Context.Service<Counter, { n: number }>()("Counter") {}
 * const add = (by: number) =>
 *   Effect.map(Counter, (counter) => {
 *     counter.n += by
 *   })
 * const increment = Step.make("increment", {
 *   input: Schema.Int,
 *   execute: add,
 *   // Wrong: it subtracts whether or not anything was added, and again when it is repeated.
 *   compensate: (by) => add(-by)
 * })
 * const count = Saga.make("Count", {
 *   payload: Schema.Int,
 *   resource: () => "counter",
 *   steps: [increment],
 *   run: (by) => increment(by)
 * })
 *
 * const exploration = Explorer.explore(count, {
 *   payload: 1,
 *   second: 2,
 *   world: Layer.sync(Counter, () => ({ n: 0 })),
 *   snapshot: Effect.map(Counter, ({ n }) => n)
 * })
 * const { violations } = await Effect.runPromise(Effect.provide(exploration, Logger.layer([])))
 * console.log(violations[0]?.seed) // crashAfter@0
 * ```
 */
import { Effect, type Layer } from "effect"
import { erase, typed } from "../saga/internal/Definition.ts"
import { sagaOf } from "../saga/internal/Registry.ts"
import type * as Saga from "../saga/Saga.ts"
import { type Fault, faults, type Schedule, scheduleOf, seedOf } from "./Fault.ts"
import { runTrial, type Subject, type Trial } from "./Trial.ts"

export interface Options<Payload, R> {
  readonly payload: Payload
  /** Of a second execution on the same resource. */
  readonly second: Payload
  /** The stores, built anew for every schedule. */
  readonly world: Layer.Layer<R>
  /** What is in them, as JSON: equal states are equal texts. */
  readonly snapshot: Effect.Effect<unknown, never, R>
  /** Only this one, from a report. */
  readonly seed?: string
  /** Told after each schedule. */
  readonly onProgress?: (done: number, total: number) => void
}

export interface Violation {
  /** Runs this very schedule again. */
  readonly seed: string
  readonly message: string
  /** What the process did. */
  readonly events: ReadonlyArray<string>
}

export interface Report {
  readonly schedules: number
  readonly violations: ReadonlyArray<Violation>
}

/** The states that executions one after another, or none, leave. */
interface Serial {
  readonly none: string
  readonly first: string
  readonly second: string
  readonly firstSecond: string
  readonly secondFirst: string
}

const calm: Schedule = { faults: [], second: false }

const serialOf = Effect.fnUntraced(function* (subject: Subject): Effect.fn.Return<Serial> {
  return {
    none: (yield* runTrial(subject, calm, "none")).state,
    first: (yield* runTrial(subject, calm)).state,
    second: (yield* runTrial(subject, calm, "second")).state,
    firstSecond: (yield* runTrial(subject, { ...calm, second: true })).state,
    secondFirst: (yield* runTrial(subject, calm, "both reversed")).state
  }
})

const allowed = (serial: Serial, trial: Trial): ReadonlySet<string> => {
  const states = new Set<string>()
  const firsts = trial.first === "unknown" ? [true, false] : [trial.first === "succeeded"]
  const seconds = trial.second === "unknown" ? [true, false] : [trial.second === "succeeded"]
  for (const first of firsts) {
    for (const second of seconds) {
      if (first && second) states.add(serial.firstSecond).add(serial.secondFirst)
      else states.add(first ? serial.first : second ? serial.second : serial.none)
    }
  }
  return states
}

const problemOf = (serial: Serial, trial: Trial): string | undefined => {
  const states = allowed(serial, trial)
  const [violation] = trial.violations
  if (violation !== undefined) return violation
  if (trial.unfinished > 0) return `${trial.unfinished} journals are unfinished after recovery`
  if (!states.has(trial.state) && trial.openLetters === 0) {
    return `the stores are neither whole nor as before, and nothing explains it: ${trial.state} (first ${trial.first}, second ${trial.second})`
  }
  if (trial.lettersAfterRedrive === 0 && !states.has(trial.stateAfterRedrive)) {
    return `after redriving its dead letters the stores are still wrong: ${trial.stateAfterRedrive}`
  }
  return undefined
}

/** The same in every run: an event that another fault hid is not tried. */
const schedulesOf = Effect.fnUntraced(function* (subject: Subject): Effect.fn.Return<ReadonlyArray<Schedule>> {
  const schedules: Array<Schedule> = []
  const plain = (yield* runTrial(subject, calm)).events
  const both = (planned: Schedule["faults"]) => {
    schedules.push({ faults: planned, second: false }, { faults: planned, second: true })
  }
  both([])
  for (const at of plain.keys()) for (const fault of faults) both([{ at, fault }])
  for (const [at, name] of plain.entries()) {
    if (!name.startsWith("execute ")) continue
    const failing = { at, fault: "fail" } satisfies { at: number; fault: Fault }
    const events = (yield* runTrial(subject, { faults: [failing], second: false })).events
    for (let later = at + 1; later < events.length; later++) {
      for (const fault of faults) both([failing, { at: later, fault }])
    }
  }
  return schedules
})

export const explore = <
  Name extends string,
  Payload extends Saga.Any["payload"],
  Success extends Saga.Any["success"],
  Error extends Saga.Any["error"],
  R
>(
  saga: Saga.Saga<Name, Payload, Success, Error, R>,
  options: Options<Payload["Type"], R>
): Effect.Effect<Report> =>
  Effect.gen(function* () {
    const subject: Subject = {
      saga: sagaOf(saga),
      payload: options.payload,
      second: options.second,
      world: erase(options.world),
      snapshot: typed(options.snapshot)
    }
    const serial = yield* serialOf(subject)
    const only = options.seed === undefined ? undefined : scheduleOf(options.seed)
    if (options.seed !== undefined && only === undefined) {
      return yield* Effect.die(new Error(`${options.seed} is not a seed of a report`))
    }
    const schedules = only === undefined ? yield* schedulesOf(subject) : [only]
    const violations: Array<Violation> = []
    for (const [index, schedule] of schedules.entries()) {
      const trial = yield* runTrial(subject, schedule)
      const message = problemOf(serial, trial)
      if (message !== undefined) violations.push({ seed: seedOf(schedule), message, events: trial.events })
      options.onProgress?.(index + 1, schedules.length)
    }
    return { schedules: schedules.length, violations }
  })
