/**
 * Which commands leave a connection together. Each write and each wake-up of Redis costs more than what a command does
 * there, so with many on the way fewer writes make all of them sooner: Nagle's algorithm, by commands instead of bytes.
 *
 * - A lone command leaves at once: what is left to do in this turn is done while Redis works.
 * - While others wait for their answers, all that is asked in one turn of the event loop leaves at its end.
 * - While many do, what is asked next stays until they have been answered, which on one connection comes first anyway: it
 *   waits for one answer more at most. Not where an answer is long in coming, since there that would be felt.
 */
import type { Clock } from "effect"
import type { Redis as Client } from "ioredis"

/** So many on the way are many. */
const MANY = 4

/** In milliseconds: what takes longer to answer is far away. */
const FAR = 5

export class Gathering {
  private readonly client: Client
  private readonly clock: Clock.Clock
  /** Held back until it is let go: commands are written to it all the while. */
  private stream: Client["stream"] | undefined = undefined
  private unanswered = 0
  /** So many of them have not left, or were given up before they did. */
  private held = 0
  private isDue = false
  /** When a command left while none was on the way, in milliseconds; undefined once that is answered. */
  private left: number | undefined = undefined
  private isFar = false

  constructor(client: Client, clock: Clock.Clock) {
    this.client = client
    this.clock = clock
  }

  /** A command is about to be written: `now`, in milliseconds. */
  asks(now: number): void {
    const isLone = this.unanswered++ === 0
    if (isLone) this.left = now
    else if (this.stream !== undefined || this.client.status === "ready") this.hold()
  }

  /** One of them has its answer, or has been given up. */
  answered(): void {
    this.unanswered--
    if (this.left !== undefined) {
      this.isFar = this.clock.currentTimeMillisUnsafe() - this.left > FAR
      this.left = undefined
    }
    if (this.stream !== undefined) this.due()
  }

  private hold() {
    this.held++
    if (this.stream !== undefined) return
    this.stream = this.client.stream
    this.stream.cork()
    this.due()
  }

  private due() {
    if (this.isDue) return
    this.isDue = true
    setImmediate(this.endOfTurn)
  }

  private readonly endOfTurn = () => {
    this.isDue = false
    const onTheWay = this.unanswered - this.held
    if (onTheWay >= MANY && !this.isFar) return
    if (onTheWay <= 0) this.left = this.clock.currentTimeMillisUnsafe()
    this.stream?.uncork()
    this.stream = undefined
    this.held = 0
  }
}
