/**
 * Many small writes of many fibers as few transactions: what arrives while one is under way goes with the next.
 *
 * A lone write is sent at once. Writers run in fibers of their own, so neither a caller's interruption nor its
 * transaction touches the writes of the others.
 */
import { Deferred, Effect, Queue, type Scope } from "effect"

interface Waiting<Op, Answer, E> {
  readonly op: Op
  readonly answer: Deferred.Deferred<Answer, E>
}

/** At most this many go together, so that none waits for a transaction without end. */
const LARGEST = 256

/**
 * `run` yields one answer for each operation, in order. When a group fails, each of it is tried alone, so that one
 * that cannot be written fails nobody else.
 */
export const makeGroupCommit = Effect.fnUntraced(function* <Op, Answer, E>(
  run: (ops: ReadonlyArray<Op>) => Effect.Effect<ReadonlyArray<Answer>, E>,
  options: {
    /** How many transactions at once. */
    readonly writers: number
    /** For an answer that `run` owes. */
    readonly missing: () => E
  }
): Effect.fn.Return<(op: Op) => Effect.Effect<Answer, E>, never, Scope.Scope> {
  const queue = yield* Queue.unbounded<Waiting<Op, Answer, E>>()

  const write = (group: ReadonlyArray<Waiting<Op, Answer, E>>): Effect.Effect<void> =>
    Effect.matchCauseEffect(run(group.map(({ op }) => op)), {
      onSuccess: (answers) =>
        Effect.sync(() => {
          for (const [index, { answer }] of group.entries()) {
            const given = answers[index]
            Deferred.doneUnsafe(answer, given === undefined ? Effect.fail(options.missing()) : Effect.succeed(given))
          }
        }),
      onFailure: (cause) =>
        group.length === 1
          ? Effect.forEach(group, ({ answer }) => Deferred.failCause(answer, cause), { discard: true })
          : Effect.forEach(group, (one) => write([one]), { discard: true })
    })
  const writer = Effect.forever(Effect.flatMap(Queue.takeBetween(queue, 1, LARGEST), write))
  yield* Effect.forEach(Array.from({ length: options.writers }), () => Effect.forkScoped(writer), { discard: true })

  return (op) =>
    Effect.suspend(() => {
      const answer = Deferred.makeUnsafe<Answer, E>()
      Queue.offerUnsafe(queue, { op, answer })
      return Deferred.await(answer)
    })
})
