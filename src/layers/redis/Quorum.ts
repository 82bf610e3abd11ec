/** Asking several nodes at once and deciding by majority, without waiting for those that make no difference. */
import { Effect, type Fiber, Latch, type Scope } from "effect"

/** What was known when the question was decided. */
export interface Answers<A> {
  readonly answers: ReadonlyArray<A>
  readonly problems: ReadonlyArray<unknown>
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
    options?: { readonly reached: "all" }
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
      options?: { readonly reached: "all" }
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
      const asked: Array<Fiber.Fiber<void>> = []
      const stop = Effect.sync(() => {
        if (options?.reached !== "all") for (const fiber of asked) fiber.interruptUnsafe()
      })
      const start = Effect.forEach(
        nodes,
        (node) =>
          Effect.matchCause(Effect.flatMap(node, question), {
            onSuccess: (answer) => {
              answers.push(answer)
              if (isGood(answer)) good++
              decide()
            },
            onFailure: (cause) => {
              problems.push(cause)
              decide()
            }
          }).pipe(
            Effect.forkIn(background, { startImmediately: true }),
            Effect.tap((fiber) => Effect.sync(() => asked.push(fiber)))
          ),
        { discard: true }
      )
      yield* Effect.ensuring(Effect.andThen(start, decided.await), stop)
      return { answers: [...answers], problems: [...problems] }
    })
  }
}
