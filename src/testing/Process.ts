/** A process of an exploration: its own lock client, guard and breakers over servers that all processes share. */
import { Clock, Context, Duration, Effect, type Fiber, Layer, Scope } from "effect"
import * as Breakers from "../layers/breakers/EffectBreakers.ts"
import * as ComposedGuard from "../layers/guard/ComposedGuard.ts"
import { makeLeasedLock } from "../layers/lock/LeasedLock.ts"
import { JournalError } from "../schema/JournalError.ts"
import type { CircuitBreakers } from "../services/CircuitBreakers.ts"
import { DeadLetterQueue } from "../services/DeadLetterQueue.ts"
import { DistributedLock } from "../services/DistributedLock.ts"
import { Idempotency } from "../services/Idempotency.ts"
import type { SagaGuard } from "../services/SagaGuard.ts"
import { SagaJournal } from "../services/SagaJournal.ts"
import { SagaProbe } from "../services/SagaProbe.ts"
import type { Fault, Planned } from "./Fault.ts"
import type { LeaseTable } from "./LeaseTable.ts"

export interface Servers {
  readonly leases: LeaseTable
  readonly lease: Duration.Duration
  readonly idempotency: Idempotency["Service"]
  readonly journal: SagaJournal
  readonly deadLetters: DeadLetterQueue["Service"]
}

export interface Process {
  readonly services: Context.Context<DistributedLock | SagaGuard | CircuitBreakers | DeadLetterQueue>
  /** What it did so far, in order: each journal write and each attempt of a step. */
  readonly events: Array<string>
  readonly isCrashed: () => boolean
  /** Whether it stands still at the moment. */
  readonly isPaused: () => boolean
  /** What an `interrupt` interrupts. */
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  /** What it did that no order of events allows. */
  readonly violations: Array<string>
}

const planned = "planned by the exploration"

export const makeProcess = Effect.fnUntraced(function* (
  servers: Servers,
  plan: ReadonlyArray<Planned>
): Effect.fn.Return<Process> {
  const clock = yield* Clock.Clock
  // Never closed: a crashed process runs no finalizers.
  const scope = yield* Scope.make()
  const events: Array<string> = []
  const violations: Array<string> = []
  const undoing = new Set<string>()
  let crashed = false
  let pausedUntil = 0
  const process: Pick<Process, "fiber"> = { fiber: undefined }

  /** Nothing leaves or enters a process that is gone, and nothing moves while it stands still. */
  const gate = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend((): Effect.Effect<A, E, R> => {
      if (crashed) return Effect.never
      const left = pausedUntil - clock.currentTimeMillisUnsafe()
      return left > 0 ? Effect.andThen(Effect.sleep(left), gate(effect)) : effect
    })
  /** What was under way when the process went is not heard of. */
  const gated = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.onExit(gate(effect), () => gate(Effect.void))

  const pause = Effect.sync(() => {
    pausedUntil = clock.currentTimeMillisUnsafe() + 2 * Duration.toMillis(servers.lease)
  })
  const crash = Effect.suspend(() => {
    crashed = true
    return Effect.never
  })

  const hinder = <A, E>(
    fault: Fault,
    effect: Effect.Effect<A, E>,
    failure: Effect.Effect<never, E>,
    lost: Effect.Effect<never, E>
  ): Effect.Effect<A, E> => {
    switch (fault) {
      case "crashBefore":
        return crash
      case "crashAfter":
        return Effect.andThen(Effect.exit(effect), crash)
      case "pauseBefore":
        return Effect.andThen(pause, gate(effect))
      case "pauseAfter":
        return Effect.onExit(effect, () => Effect.andThen(pause, gate(Effect.void)))
      case "repeat":
        return Effect.andThen(Effect.exit(effect), effect)
      case "fail":
        return failure
      case "loseReply":
        return Effect.andThen(Effect.exit(effect), lost)
      case "loseLock":
        return Effect.andThen(Effect.sync(servers.leases.revoke), effect)
      case "interrupt":
        return Effect.suspend(() => {
          process.fiber?.interruptUnsafe()
          return effect
        })
    }
  }
  const event = <A, E>(
    name: string,
    effect: Effect.Effect<A, E>,
    failure: Effect.Effect<never, E>,
    lost: Effect.Effect<never, E>
  ): Effect.Effect<A, E> =>
    gate(
      Effect.suspend(() => {
        const at = events.push(name) - 1
        const fault = plan.find((one) => one.at === at)?.fault
        return fault === undefined ? gated(effect) : hinder(fault, effect, failure, lost)
      })
    )

  const written = <A>(operation: string, effect: Effect.Effect<A, JournalError>) => {
    const failure = Effect.fail(new JournalError({ operation, cause: new Error(planned) }))
    return event(`journal ${operation}`, effect, failure, failure)
  }
  const { journal } = servers
  const ownJournal: SagaJournal = {
    keeps: true,
    open: (saga, records) => written("open", journal.open(saga, records)),
    append: (ref, owner, records) => written("append", journal.append(ref, owner, records)),
    close: (ref, owner, records, end) => written("close", journal.close(ref, owner, records, end)),
    claim: (ref, from, to) => gated(journal.claim(ref, from, to)),
    note: (ref, problem) => gated(journal.note(ref, problem)),
    get: (sagaId) => gated(journal.get(sagaId)),
    list: (filter) => gated(journal.list(filter)),
    purge: (before) => gated(journal.purge(before))
  }
  const probe: SagaProbe = ({ kind, sagaId, step }, effect) => {
    const started = Effect.sync(() => {
      if (kind === "compensate") undoing.add(sagaId)
      else if (undoing.has(sagaId)) violations.push(`${step} was started after undoing had begun`)
    })
    return event(`${kind} ${step}`, Effect.andThen(started, effect), Effect.die(new Error(planned)), Effect.never)
  }
  const { idempotency, deadLetters } = servers
  const own = Context.make(Idempotency, {
    lookup: (request) => gated(idempotency.lookup(request)),
    begin: (request, lease) => gated(idempotency.begin(request, lease)),
    end: (request, lease, ending) => gated(idempotency.end(request, lease, ending)),
    ended: (request) => gated(idempotency.ended(request))
  } satisfies Idempotency["Service"])
  const { store } = servers.leases
  const lock = yield* makeLeasedLock(
    {
      take: (resources, token) => gated(store.take(resources, token)),
      release: (resources, token) => gated(store.release(resources, token)),
      renew: (resources, token) => gated(store.renew(resources, token)),
      advance: (resources, token, least) => gated(store.advance(resources, token, least)),
      waiting: store.waiting
    },
    { lease: servers.lease, wait: Duration.times(servers.lease, 4) }
  ).pipe(Scope.provide(scope))
  const layers = Layer.mergeAll(
    ComposedGuard.layer.pipe(Layer.provide(Layer.succeedContext(Context.add(own, DistributedLock, lock)))),
    Breakers.layerMemory()
  )
  const built = yield* Layer.buildWithScope(layers, scope)
  const services = Context.add(built, DistributedLock, lock).pipe(
    Context.add(DeadLetterQueue, { ...deadLetters, add: (entry) => gated(deadLetters.add(entry)) }),
    Context.add(SagaJournal, ownJournal),
    Context.add(SagaProbe, probe)
  )
  return Object.assign(process, {
    services,
    events,
    violations,
    isCrashed: () => crashed,
    isPaused: () => clock.currentTimeMillisUnsafe() < pausedUntil
  })
})
