/**
 * Many small writes of many fibers as few transactions: what arrives while one is under way goes with the next.
 *
 * A lone write is sent at once. One writer takes all, since few large transactions cost less than many small ones; only
 * while it is slow another helps, so that nobody waits long for what is not theirs. Writers run in fibers of their own, so
 * neither a caller's interruption nor its transaction touches the writes of the others.
 */
import { Clock, Duration, Effect, type Exit, type Fiber, type Scope } from "effect"
import { untracedUnlessSeen } from "../../services/Traced.ts"

interface Waiting<Op, Answer, E> {
  readonly op: Op
  readonly resume: (answer: Effect.Effect<Answer, E>) => void
}

interface Writer<Op, Answer, E> {
  group: ReadonlyArray<Waiting<Op, Answer, E>>
  /** When it last began to wait for the database: in looks, and in milliseconds. */
  since: number
  asked: number
  fiber: Fiber.Fiber<void> | undefined
}

/** At most this many go together, so that none waits for a transaction without end. */
const LARGEST = 256

/** How often a writer is looked after before it is given up: a timer for each transaction would cost more than this. */
const LOOKS = 4

/**
 * `run` yields one answer for each operation, in order. When a group fails for one of its operations, each of it is tried
 * alone, so that one that cannot be written fails nobody else.
 */
export const makeGroupCommit = Effect.fnUntraced(function* <Op, Answer, E>(
  run: (ops: ReadonlyArray<Op>) => Effect.Effect<ReadonlyArray<Answer>, E>,
  options: {
    /** At most so many transactions at once: a further one while all others have been under way for that long. */
    readonly writers: number
    readonly slow: Duration.Input
    /** What takes longer, up to a quarter more, is given up: others go on without it, though it may still be written. */
    readonly patience: Duration.Input
    /** For an answer that `run` owes, and for whoever still waits when this closes: it may have been written. */
    readonly missing: () => E
    /** Whether only one of the group may be why it failed; else all of it fail at once, as when nobody is there. */
    readonly isOfOne: (error: E) => boolean
  }
): Effect.fn.Return<(op: Op) => Effect.Effect<Answer, E>, never, Scope.Scope> {
  type One = Waiting<Op, Answer, E>
  const fork = Effect.runForkWith(untracedUnlessSeen(yield* Effect.context<never>()))
  const clock = yield* Clock.Clock
  const slow = Duration.toMillis(Duration.fromInputUnsafe(options.slow))
  const interval = Duration.times(Duration.fromInputUnsafe(options.patience), 1 / LOOKS)
  const unanswered = new Set<One>()
  const writing = new Set<Writer<Op, Answer, E>>()
  let waiting: Array<One> = []
  let closed = false
  let looks = 0
  let looking: Fiber.Fiber<void> | undefined

  const answer = (one: One, given: Exit.Exit<Answer, E> | Effect.Effect<Answer, E>) => {
    if (unanswered.delete(one)) one.resume(given)
  }
  const write = (writer: Writer<Op, Answer, E>, group: ReadonlyArray<One>): Effect.Effect<void> =>
    // What throws while it is put into words must not end the writer either.
    Effect.matchCauseEffect(
      Effect.suspend(() => {
        writer.since = looks
        writer.asked = clock.currentTimeMillisUnsafe()
        return run(group.map(({ op }) => op))
      }),
      {
        onSuccess: (answers) => {
          for (const [index, one] of group.entries()) {
            const given = answers[index]
            answer(one, given === undefined ? Effect.fail(options.missing()) : Effect.succeed(given))
          }
          return Effect.void
        },
        onFailure: (cause) => {
          const everybodys = cause.reasons.some((reason) => reason._tag === "Fail" && !options.isOfOne(reason.error))
          if (group.length > 1 && !everybodys)
            return Effect.forEach(group, (one) => write(writer, [one]), { discard: true })
          for (const one of group) answer(one, Effect.failCause(cause))
          return Effect.void
        }
      }
    )
  const writes = (writer: Writer<Op, Answer, E>): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (!writing.has(writer)) return Effect.void
      if (waiting.length === 0) {
        writing.delete(writer)
        return Effect.void
      }
      writer.group = waiting.slice(0, LARGEST)
      waiting = waiting.slice(LARGEST)
      return Effect.flatMap(write(writer, writer.group), () => writes(writer))
    })
  const isWriterMissing = (): boolean => {
    if (writing.size >= options.writers) return false
    const now = clock.currentTimeMillisUnsafe()
    for (const writer of writing) if (now - writer.asked < slow) return false
    return true
  }
  const start = () => {
    const asked = clock.currentTimeMillisUnsafe()
    const writer: Writer<Op, Answer, E> = { group: [], since: looks, asked, fiber: undefined }
    writing.add(writer)
    // What else arrives in this turn of the loop goes with it.
    writer.fiber = fork(Effect.andThen(Effect.yieldNow, writes(writer)))
    looking ??= fork(Effect.delay(look, interval))
  }
  const giveUp = (writer: Writer<Op, Answer, E>) => {
    writing.delete(writer)
    for (const one of writer.group) answer(one, Effect.fail(options.missing()))
    writer.fiber?.interruptUnsafe()
  }
  const look: Effect.Effect<void> = Effect.suspend(() => {
    looks++
    for (const writer of writing) if (looks - writer.since > LOOKS) giveUp(writer)
    if (waiting.length > 0 && isWriterMissing()) start()
    if (writing.size > 0) return Effect.delay(look, interval)
    looking = undefined
    return Effect.void
  })

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      looking?.interruptUnsafe()
      for (const writer of writing) writer.fiber?.interruptUnsafe()
      for (const one of unanswered) answer(one, Effect.fail(options.missing()))
    })
  )

  return (op) =>
    Effect.callback<Answer, E>((resume) => {
      if (closed) return resume(Effect.fail(options.missing()))
      const one: One = { op, resume }
      unanswered.add(one)
      waiting.push(one)
      if (isWriterMissing()) start()
    })
})
