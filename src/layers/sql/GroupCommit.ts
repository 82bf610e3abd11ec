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
 * `run` yields one answer for each operation, in order. When a group fails for one of its operations, each of it is tried
 * alone, so that one that cannot be written fails nobody else.
 */
export const makeGroupCommit = Effect.fnUntraced(function* <Op, Answer, E>(
  run: (ops: ReadonlyArray<Op>) => Effect.Effect<ReadonlyArray<Answer>, E>,
  options: {
    /** How many transactions at once. */
    readonly writers: number
    /** For an answer that `run` owes, and for whoever still waits when this closes: it may have been written. */
    readonly missing: () => E
    /** Whether only one of the group may be why it failed; else all of it fail at once, as when nobody is there. */
    readonly isOfOne: (error: E) => boolean
  }
): Effect.fn.Return<(op: Op) => Effect.Effect<Answer, E>, never, Scope.Scope> {
  const queue = yield* Queue.unbounded<Waiting<Op, Answer, E>>()
  const unanswered = new Set<Waiting<Op, Answer, E>>()
  let closed = false

  const answer = (one: Waiting<Op, Answer, E>, given: Effect.Effect<Answer, E>) => {
    unanswered.delete(one)
    Deferred.doneUnsafe(one.answer, given)
  }
  const write = (group: ReadonlyArray<Waiting<Op, Answer, E>>): Effect.Effect<void> =>
    // What throws while it is put into words must not end the writer either.
    Effect.matchCauseEffect(
      Effect.suspend(() => run(group.map(({ op }) => op))),
      {
        onSuccess: (answers) =>
          Effect.sync(() => {
            for (const [index, one] of group.entries()) {
              const given = answers[index]
              answer(one, given === undefined ? Effect.fail(options.missing()) : Effect.succeed(given))
            }
          }),
        onFailure: (cause) => {
          const everybodys = cause.reasons.some((reason) => reason._tag === "Fail" && !options.isOfOne(reason.error))
          return group.length === 1 || everybodys
            ? Effect.sync(() => {
                for (const one of group) answer(one, Effect.failCause(cause))
              })
            : Effect.forEach(group, (one) => write([one]), { discard: true })
        }
      }
    )

  // Runs after the writers have been stopped: whoever still waits would wait for ever.
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      for (const one of unanswered) answer(one, Effect.fail(options.missing()))
    })
  )
  const writer = Effect.forever(Effect.flatMap(Queue.takeBetween(queue, 1, LARGEST), write))
  yield* Effect.forEach(Array.from({ length: options.writers }), () => Effect.forkScoped(writer), { discard: true })

  return (op) =>
    Effect.suspend(() => {
      if (closed) return Effect.fail(options.missing())
      const one: Waiting<Op, Answer, E> = { op, answer: Deferred.makeUnsafe<Answer, E>() }
      unanswered.add(one)
      Queue.offerUnsafe(queue, one)
      return Deferred.await(one.answer)
    })
})
