/** Asking several nodes at once and deciding by majority, without waiting for those that make no difference. */
import { Effect, Exit, type Fiber, Latch, type Scope } from "effect"

/** What was known when the question was decided. */
export interface Answers<A> {
  readonly answers: ReadonlyArray<A>
  readonly problems: ReadonlyArray<unknown>
}

export interface Reached {
  readonly reached: "all"
  /** Gets the fibers that ask, so that the caller can interrupt those that are still at it. */
  readonly by?: Array<Fiber.Fiber<unknown, unknown>>
}

export interface Quorum<Node> {
  readonly majority: number
  /**
   * Decided when a majority gave a good answer; when none can any more and a majority answered; or when no majority can
   * answer. Who has not answered by then is no longer asked, unless all are to be `reached`.
   */
  readonly ask: <A>(
    question: (node: Node) => Effect.Effect<A, unknown>,
    isGood: (answer: A) => boolean,
    options?: Reached
  ) => Effect.Effect<Answers<A>>
}

/** A node that cannot be had at the moment fails. */
export const makeQuorum = <Node>(
  nodes: ReadonlyArray<Effect.Effect<Node, unknown>>,
  background: Scope.Scope
): Quorum<Node> => {
  const majority = Math.floor(nodes.length / 2) + 1
  const spare = nodes.length - majority
  return {
    majority,
    ask: Effect.fnUntraced(function* <A>(
      question: (node: Node) => Effect.Effect<A, unknown>,
      isGood: (answer: A) => boolean,
      options?: Reached
    ) {
      const answers: Array<A> = []
      const problems: Array<unknown> = []
      let good = 0
      const decided = Latch.makeUnsafe(nodes.length === 0)
      const decide = () => {
        const hopeless = answers.length - good + problems.length > spare
        const complete = answers.length + problems.length === nodes.length
        if (good >= majority || problems.length > spare || (hopeless && answers.length >= majority) || complete) {
          decided.openUnsafe()
        }
      }
      const asked: Array<Fiber.Fiber<unknown, unknown>> = options?.by ?? []
      const stop = Effect.sync(() => {
        if (options?.reached !== "all") for (const fiber of asked) fiber.interruptUnsafe()
      })
      const answered = (exit: Exit.Exit<A, unknown>) => {
        if (Exit.isFailure(exit)) problems.push(exit.cause)
        else {
          answers.push(exit.value)
          if (isGood(exit.value)) good++
        }
        decide()
      }
      // What is asked has a fiber that is known, and one in a closed scope, which ends before it begins, has answered too.
      const ask = (node: Effect.Effect<Node, unknown>) =>
        Effect.forkIn(Effect.flatMap(node, question), background, { startImmediately: true }).pipe(
          Effect.tap((fiber) =>
            Effect.sync(() => {
              asked.push(fiber)
              fiber.addObserver(answered)
            })
          ),
          Effect.uninterruptible
        )
      const known = Effect.map(
        Effect.andThen(Effect.forEach(nodes, ask, { discard: true }), decided.await),
        // Before those are stopped who would only say so.
        (): Answers<A> => ({ answers: [...answers], problems: [...problems] })
      )
      return yield* Effect.ensuring(known, stop)
    })
  }
}
