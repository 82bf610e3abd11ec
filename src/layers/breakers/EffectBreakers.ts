/**
 * The breakers of all dependencies over Effect's `CircuitBreaker`, one policy each. Its store decides who shares them:
 * in memory one process, in Redis all.
 *
 * **Gotchas**
 *
 * `isolate` and `reset` act on this process; with a shared store the others keep the state the store has.
 */
import { Cause, Duration, Effect, Exit, Layer, Metric, PubSub, Scope, Stream } from "effect"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import type { Redis } from "effect/persistence/Redis"
import {
  type BreakerStatistics,
  CircuitBreakers,
  type ProtectOptions,
  type Told
} from "../../services/CircuitBreakers.ts"
import { circuitBreakerState } from "../../services/Metrics.ts"

export interface BreakerPolicy {
  /** Consecutive failed attempts that open it. */
  readonly failures: number
  readonly openFor: Duration.Input
}

export type BreakerPolicies = Readonly<Record<string, BreakerPolicy>>

/** For dependencies that are not named. */
export const defaultPolicy: BreakerPolicy = { failures: 5, openFor: "60 seconds" }

export const defaultPolicies: BreakerPolicies = {
  postgres: defaultPolicy,
  neo4j: defaultPolicy,
  qdrant: defaultPolicy,
  redis: { failures: 3, openFor: "30 seconds" },
  graphiti: { failures: 3, openFor: "120 seconds" }
}

interface Circuit {
  readonly breaker: CircuitBreaker.CircuitBreaker
  readonly openFor: Duration.Duration
  /** Counted up by `reset`: a new key has no failures behind it. */
  generation: number
  isolated: boolean
  /** Surely closed with no failure behind it: known only where nobody else has a say. */
  clean: boolean
  /** Of those that it lets pass as long as it is clean; made when the first does. */
  told: Told | undefined
  successes: number
  failures: number
  rejections: number
}

const stateNumber = { Closed: 0, Open: 1, HalfOpen: 2 } as const

/** `local`: nobody else reports to the store. */
const make = Effect.fnUntraced(function* (
  policies: BreakerPolicies,
  local: boolean
): Effect.fn.Return<CircuitBreakers["Service"], never, CircuitBreaker.CircuitBreakerStore | Scope.Scope> {
  const scope = yield* Effect.scope
  const store = yield* CircuitBreaker.CircuitBreakerStore
  const hub = yield* PubSub.sliding<CircuitBreaker.Transition>(128)
  const circuits = new Map<string, Circuit>()

  const open = Effect.fnUntraced(
    function* (dependency: string) {
      const policy = policies[dependency] ?? defaultPolicy
      const breaker = yield* CircuitBreaker.make({
        tripPolicy: CircuitBreaker.consecutive(policy.failures),
        openDuration: policy.openFor
      })
      const known = circuits.get(dependency)
      if (known !== undefined) return known
      const circuit: Circuit = {
        breaker,
        openFor: Duration.fromInputUnsafe(policy.openFor),
        generation: 0,
        isolated: false,
        clean: local,
        told: undefined,
        successes: 0,
        failures: 0,
        rejections: 0
      }
      circuits.set(dependency, circuit)
      yield* breaker.transitions.pipe(
        Stream.runForEach((transition) =>
          Effect.andThen(
            Metric.update(circuitBreakerState(dependency), stateNumber[transition.to]),
            PubSub.publish(hub, { ...transition, key: dependency })
          )
        ),
        Effect.forkIn(scope, { startImmediately: true })
      )
      yield* Metric.update(circuitBreakerState(dependency), 0)
      return circuit
    },
    (effect) =>
      Effect.provideService(
        Effect.provideService(effect, CircuitBreaker.CircuitBreakerStore, store),
        Scope.Scope,
        scope
      )
  )

  const circuitOf = (dependency: string): Effect.Effect<Circuit> => {
    const known = circuits.get(dependency)
    return known === undefined ? open(dependency) : Effect.succeed(known)
  }
  const keyOf = (dependency: string, circuit: Circuit) =>
    circuit.generation === 0 ? dependency : `${dependency}#${circuit.generation}`

  const outcomeOf = (circuit: Circuit, options: ProtectOptions | undefined, exit: Exit.Exit<unknown, unknown>) => {
    if (Exit.isSuccess(exit)) {
      if (options?.countSuccess === false) return CircuitBreaker.ignored
      circuit.successes++
      return CircuitBreaker.success
    }
    if (Cause.hasInterrupts(exit.cause)) return CircuitBreaker.ignored
    const error = Cause.findErrorOption(exit.cause)
    // A typed error that is no failure (a rejected row, say) shows that the dependency answers.
    if (error._tag === "Some" && options?.isFailure?.(error.value) === false) {
      circuit.successes++
      return CircuitBreaker.success
    }
    circuit.failures++
    circuit.clean = false
    return CircuitBreaker.failure()
  }

  /** The breaker decides whether it runs, and learns how it ended. */
  const admitted = <A, E, R>(
    dependency: string,
    circuit: Circuit,
    effect: Effect.Effect<A, E, R>,
    classify: (exit: Exit.Exit<A, E>) => CircuitBreaker.Outcome
  ) => {
    let outcome: CircuitBreaker.Outcome | undefined
    let failures = 0
    return Effect.onExitPrimitive(
      circuit.breaker.execute(effect, {
        key: keyOf(dependency, circuit),
        classify: (exit) => {
          outcome = classify(exit)
          failures = circuit.failures
          return outcome
        }
      }),
      () => {
        if (outcome === undefined) circuit.rejections++
        // A success closes the breaker and ends the row of failures, unless one was counted since.
        else if (local && outcome === CircuitBreaker.success && failures === circuit.failures) circuit.clean = true
        return undefined
      }
    )
  }

  /** Closed, without a failure behind it: only a failure, or what follows one, is news to the breaker. */
  const unhindered = (dependency: string, circuit: Circuit): Told => {
    const key = keyOf(dependency, circuit)
    return (exit, options) => {
      // Mostly it is a success, and no news.
      if (options === undefined && exit._tag === "Success" && circuit.clean) {
        circuit.successes++
        return undefined
      }
      const outcome = outcomeOf(circuit, options, exit)
      if (circuit.clean || outcome === CircuitBreaker.ignored || key !== keyOf(dependency, circuit)) return undefined
      return Effect.flatMap(
        Effect.orElseSucceed(circuit.breaker.state(key), () => undefined),
        (state) =>
          // One that began before the breaker opened must not be taken for its probe.
          state?._tag === "Closed"
            ? Effect.asVoid(Effect.exit(admitted(dependency, circuit, exit, () => outcome)))
            : Effect.void
      )
    }
  }

  const toldOf = (dependency: string, circuit: Circuit): Told => {
    circuit.told ??= unhindered(dependency, circuit)
    return circuit.told
  }

  const protectWith = <A, E, R>(
    dependency: string,
    circuit: Circuit,
    options: ProtectOptions | undefined,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | CircuitBreaker.CircuitBreakerError, R> => {
    if (circuit.isolated) {
      circuit.rejections++
      const reason = new CircuitBreaker.CircuitOpen({ key: dependency, retryAfter: circuit.openFor })
      return Effect.fail(new CircuitBreaker.CircuitBreakerError({ reason }))
    }
    if (circuit.clean) {
      const tell = toldOf(dependency, circuit)
      return Effect.onExitPrimitive(effect, (exit) => tell(exit, options))
    }
    return admitted(dependency, circuit, effect, (exit) => outcomeOf(circuit, options, exit))
  }

  const stateOf = (dependency: string, circuit: Circuit): Effect.Effect<CircuitBreaker.State> =>
    circuit.isolated
      ? Effect.succeed({ _tag: "Open", key: dependency, retryAfter: circuit.openFor, consecutiveOpenings: 1 })
      : circuit.breaker.state(keyOf(dependency, circuit)).pipe(
          // The breaker lets calls through when its store is gone, so closed is what it is.
          Effect.orElseSucceed((): CircuitBreaker.State => ({ _tag: "Closed", key: dependency })),
          Effect.map((state) => ({ ...state, key: dependency })),
          Effect.tap((state) => Metric.update(circuitBreakerState(dependency), stateNumber[state._tag]))
        )

  return CircuitBreakers.of({
    protect: (dependency, options) => (effect) =>
      Effect.suspend(() => {
        const circuit = circuits.get(dependency)
        return circuit === undefined
          ? Effect.flatMap(open(dependency), (opened) => protectWith(dependency, opened, options, effect))
          : protectWith(dependency, circuit, options, effect)
      }),
    unhindered: (dependency) => {
      const circuit = circuits.get(dependency)
      return circuit?.clean === true && !circuit.isolated ? toldOf(dependency, circuit) : undefined
    },
    statistics: Effect.suspend(() =>
      Effect.forEach(circuits, ([dependency, circuit]) =>
        Effect.map(
          stateOf(dependency, circuit),
          (state): BreakerStatistics => ({
            dependency,
            state,
            successes: circuit.successes,
            failures: circuit.failures,
            rejections: circuit.rejections
          })
        )
      )
    ),
    isolate: (dependency) =>
      Effect.flatMap(circuitOf(dependency), (circuit) => {
        circuit.isolated = true
        return Metric.update(circuitBreakerState(dependency), stateNumber.Open)
      }),
    reset: (dependency) =>
      Effect.flatMap(circuitOf(dependency), (circuit) => {
        circuit.isolated = false
        circuit.generation++
        circuit.told = undefined
        circuit.clean = local
        return Metric.update(circuitBreakerState(dependency), stateNumber.Closed)
      }),
    transitions: Stream.fromPubSub(hub)
  })
})

/** Over whatever store is given; policies not named are the defaults. */
export const layer = (
  policies: BreakerPolicies = {}
): Layer.Layer<CircuitBreakers, never, CircuitBreaker.CircuitBreakerStore> =>
  Layer.effect(CircuitBreakers, make({ ...defaultPolicies, ...policies }, false))

export const layerMemory = (policies: BreakerPolicies = {}): Layer.Layer<CircuitBreakers> =>
  Layer.effect(CircuitBreakers, make({ ...defaultPolicies, ...policies }, true)).pipe(
    Layer.provide(CircuitBreaker.layerStoreMemory())
  )

/** Shared by all processes on the same Redis. */
export const layerRedis = (policies: BreakerPolicies = {}): Layer.Layer<CircuitBreakers, never, Redis> =>
  Layer.provide(layer(policies), CircuitBreaker.layerStoreRedis())

/** With breakers switched off: everything passes. */
export const layerOff: Layer.Layer<CircuitBreakers> = Layer.succeed(CircuitBreakers, {
  protect: () => (effect) => effect,
  unhindered: () => () => undefined,
  statistics: Effect.succeed([]),
  isolate: () => Effect.void,
  reset: () => Effect.void,
  transitions: Stream.empty
})
