/** One trial: fresh servers and stores, a process that meets its faults, another that recovers, and what is left then. */

import canonicalize from "canonicalize"
import { Cause, Context, Duration, Effect, Exit, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryDeadLetterQueue from "../layers/memory/MemoryDeadLetterQueue.ts"
import * as MemoryIdempotency from "../layers/memory/MemoryIdempotency.ts"
import * as MemoryJournal from "../layers/memory/MemoryJournal.ts"
import { execute } from "../saga/internal/Execute.ts"
import { redriveAll } from "../saga/internal/RedriveQueue.ts"
import type { SagaDefinition } from "../saga/internal/Request.ts"
import { sweep } from "../saga/internal/Sweep.ts"
import { DeadLetterQueue } from "../services/DeadLetterQueue.ts"
import { Idempotency } from "../services/Idempotency.ts"
import { SagaJournal } from "../services/SagaJournal.ts"
import { SagaSettings } from "../services/SagaSettings.ts"
import type { Schedule } from "./Fault.ts"
import { makeLeaseTable } from "./LeaseTable.ts"
import { makeProcess, type Process } from "./Process.ts"

export interface Subject {
  readonly saga: SagaDefinition
  readonly payload: unknown
  readonly second: unknown
  readonly world: Layer.Layer<never>
  readonly snapshot: Effect.Effect<unknown>
}

/** What the caller of an execution knows: it happened, it did not, or he cannot tell. */
export type Known = "succeeded" | "failed" | "unknown"

export interface Trial {
  readonly events: ReadonlyArray<string>
  readonly first: Known
  readonly second: Known | "not run"
  /** After recovery. */
  readonly state: string
  readonly openLetters: number
  /** After the dead letters were redriven, too. */
  readonly stateAfterRedrive: string
  readonly lettersAfterRedrive: number
  readonly unfinished: number
  readonly violations: ReadonlyArray<string>
}

const LEASE = Duration.seconds(2)

const settings = Effect.map(SagaSettings, (given) => ({ ...given, stepTimeout: Duration.seconds(1) }))

const unsure = new Set(["LockLost", "OutcomeUnknown", "JournalError"])

const knownOf = (exit: Exit.Exit<unknown, unknown> | undefined): Known => {
  if (exit === undefined) return "unknown"
  if (Exit.isSuccess(exit)) return "succeeded"
  // Interrupted while its end was stored: it may have been.
  if (Cause.hasInterrupts(exit.cause)) return "unknown"
  const error = Cause.squash(exit.cause)
  if (typeof error !== "object" || error === null || !("_tag" in error)) return "failed"
  const reason = "reason" in error ? error.reason : undefined
  const tag = typeof reason === "object" && reason !== null && "_tag" in reason ? reason._tag : error._tag
  return typeof tag === "string" && unsure.has(tag) ? "unknown" : "failed"
}

/** Lets virtual time pass until it is so, but not for ever. */
const passUntil = (done: () => boolean): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let i = 0; i < 400 && !done(); i++) yield* TestClock.adjust(Duration.times(LEASE, 0.25))
  })

export const runTrial = (
  subject: Subject,
  schedule: Schedule,
  order: "first" | "second" | "none" | "both reversed" = "first"
): Effect.Effect<Trial> =>
  Effect.gen(function* () {
    // Never closed, as the processes that use it may be gone.
    const scope = yield* Scope.make()
    const world = yield* Layer.buildWithScope(Layer.fresh(subject.world), scope)
    const shared = yield* Layer.buildWithScope(
      Layer.fresh(Layer.mergeAll(MemoryIdempotency.layer, MemoryJournal.layer, MemoryDeadLetterQueue.layer)),
      scope
    )
    const servers = {
      leases: makeLeaseTable(LEASE),
      lease: LEASE,
      idempotency: Context.get(shared, Idempotency),
      journal: Context.get(shared, SagaJournal),
      deadLetters: Context.get(shared, DeadLetterQueue)
    }
    const inProcess = <A, E, R>(process: Process, effect: Effect.Effect<A, E, R>) =>
      Effect.provideContext(
        Effect.provideServiceEffect(effect, SagaSettings, settings),
        Context.merge(world, process.services)
      )
    const start = Effect.fnUntraced(function* (process: Process, payload: unknown) {
      const running: { exit: Exit.Exit<unknown, unknown> | undefined } = { exit: undefined }
      process.fiber = yield* inProcess(
        process,
        execute(subject.saga, payload, undefined, (receipt) => receipt)
      ).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            running.exit = exit
          })
        ),
        Effect.forkDetach
      )
      return running
    })
    yield* TestClock.adjust("1 second")
    const one = yield* makeProcess(servers, schedule.faults)
    const other = yield* makeProcess(servers, [])
    const recover = inProcess(other, sweep([subject.saga], LEASE, 1)).pipe(
      Effect.forkDetach,
      Effect.flatMap((fiber) => passUntil(() => fiber.pollUnsafe() !== undefined))
    )

    if (order === "both reversed" || order === "second") {
      const running = yield* start(other, subject.second)
      yield* passUntil(() => running.exit !== undefined)
    }
    const first: { exit: Exit.Exit<unknown, unknown> | undefined } =
      order === "first" || order === "both reversed" ? yield* start(one, subject.payload) : { exit: undefined }
    yield* passUntil(
      () => order === "none" || order === "second" || first.exit !== undefined || one.isCrashed() || one.isPaused()
    )
    let second: { exit: Exit.Exit<unknown, unknown> | undefined } | undefined
    if (schedule.second) {
      const running = yield* start(other, subject.second)
      yield* passUntil(() => running.exit !== undefined)
      second = running
    }
    yield* TestClock.adjust(Duration.times(LEASE, 1.1))
    yield* recover
    // Whoever stood still goes on now.
    yield* passUntil(() => one.isCrashed() || first.exit !== undefined || order === "none" || order === "second")
    yield* TestClock.adjust(Duration.times(LEASE, 1.1))
    yield* recover

    const snapshot = Effect.map(
      Effect.provideContext(subject.snapshot, world),
      (state) => canonicalize(state) ?? "null"
    )
    const open = Effect.orDie(servers.deadLetters.size)
    const state = yield* snapshot
    const openLetters = yield* open
    let redriven = false
    yield* inProcess(other, redriveAll([subject.saga], {})).pipe(
      Effect.ignore,
      Effect.andThen(Effect.sync(() => (redriven = true))),
      Effect.forkDetach
    )
    yield* passUntil(() => redriven)
    const all = yield* Effect.orDie(servers.journal.list({ limit: 1000 }))
    return {
      events: one.events,
      first: one.isCrashed() ? "unknown" : knownOf(first.exit),
      second: second === undefined ? "not run" : knownOf(second.exit),
      state,
      openLetters,
      stateAfterRedrive: yield* snapshot,
      lettersAfterRedrive: yield* open,
      unfinished: all.filter((journal) => journal.status !== "finished").length,
      violations: [...one.violations, ...other.violations]
    } satisfies Trial
  }).pipe(Effect.provide(TestClock.layer()), Effect.withTracerEnabled(false))
