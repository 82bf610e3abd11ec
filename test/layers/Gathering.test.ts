/** Which commands leave together: counted at the socket, with Redis behind it. */
import { connect, Socket } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, type Layer } from "effect"
import * as Redis from "effect/persistence/Redis"
import { IoRedis } from "effect-saga"
import { AbstractConnector } from "ioredis"
import { servers } from "../servers/inject.ts"

const { redis } = servers()
const { hostname, port } = new URL(redis ?? "redis://x:1")

/** The last socket that was opened, and how often it was written to. */
interface Line {
  socket: Socket
  writes: number
}

const lined = () => {
  const line: Line = { socket: new Socket(), writes: 0 }
  class Counted extends AbstractConnector {
    constructor() {
      super(2000)
    }
    connect() {
      const socket = connect({ port: Number(port), host: hostname })
      line.socket = socket
      const { _write, _writev } = socket
      socket._write = (...args) => {
        line.writes++
        return _write.apply(socket, args)
      }
      if (_writev !== undefined) {
        socket._writev = (...args) => {
          line.writes++
          return _writev.apply(socket, args)
        }
      }
      this.stream = socket
      return Promise.resolve(socket)
    }
  }
  return { line, Connector: Counted }
}

const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
const turns = Effect.andThen(turn, turn)
const ping = Effect.flatMap(Redis.Redis, ({ send }) => send<string>("PING"))
/** Asked now, by a callback of its own. */
const asked = Effect.forkChild(ping, { startImmediately: true })
const answers = (fibers: ReadonlyArray<Fiber.Fiber<string, Redis.RedisError>>) => Effect.all(fibers.map(Fiber.join))

const watched = (
  watch: (line: Line) => Effect.Effect<void, Redis.RedisError, Redis.Redis>,
  options: IoRedis.Options = {}
) => {
  const { Connector, line } = lined()
  const client: Layer.Layer<Redis.Redis, Redis.RedisError> = IoRedis.layer({ ...options, Connector })
  return Effect.provide(
    Effect.suspend(() => {
      line.writes = 0
      return watch(line)
    }),
    client
  )
}

describe.skipIf(redis === null)("commands of one connection", () => {
  it.live("leave at once when they are alone", () =>
    watched((line) =>
      Effect.gen(function* () {
        const fiber = yield* asked
        assert.strictEqual(line.writes, 1)
        assert.strictEqual(yield* Fiber.join(fiber), "PONG")
      })
    )
  )

  it.live("leave in one write when they are asked by several callbacks of one turn, while another is on the way", () =>
    watched((line) =>
      Effect.gen(function* () {
        line.socket.pause()
        const first = yield* asked
        const later: Array<Fiber.Fiber<string, Redis.RedisError>> = []
        const context = yield* Effect.context<Redis.Redis>()
        for (let i = 0; i < 3; i++) setImmediate(() => later.push(Effect.runForkWith(context)(ping)))
        yield* turn
        assert.strictEqual(later.length, 3)
        assert.strictEqual(line.writes, 1, "held back until the turn ends")
        yield* turns
        assert.strictEqual(line.writes, 2)
        line.socket.resume()
        assert.deepStrictEqual(yield* answers([first, ...later]), ["PONG", "PONG", "PONG", "PONG"])
      })
    )
  )

  /** Four on the way, unanswered, and two that were asked turns later. */
  const crowded = (line: Line) =>
    Effect.gen(function* () {
      line.socket.pause()
      const early = yield* Effect.all([asked, asked, asked, asked])
      yield* turns
      assert.strictEqual(line.writes, 2)
      const late = [yield* asked]
      yield* turns
      late.push(yield* asked)
      yield* turns
      return [...early, ...late]
    })

  it.live("stay until many others have been answered, and then leave together", () =>
    watched((line) =>
      Effect.gen(function* () {
        const all = yield* crowded(line)
        assert.strictEqual(line.writes, 2)
        line.socket.resume()
        assert.strictEqual((yield* answers(all)).length, 6)
        assert.strictEqual(line.writes, 3)
      })
    )
  )

  it.live("do not stay where an answer takes long", () =>
    watched((line) =>
      Effect.gen(function* () {
        line.socket.pause()
        const slow = yield* asked
        yield* Effect.sleep("20 millis")
        line.socket.resume()
        yield* Fiber.join(slow)
        line.writes = 0
        const all = yield* crowded(line)
        assert.strictEqual(line.writes, 4, "each in its turn")
        line.socket.resume()
        yield* answers(all)
        // Near again: the one that was alone has been answered at once.
        line.writes = 0
        yield* ping
        line.writes = 0
        const again = yield* crowded(line)
        assert.strictEqual(line.writes, 2)
        line.socket.resume()
        yield* answers(again)
      })
    )
  )

  it.live("fail in their time while they are held back, and the next are asked and answered", () =>
    watched(
      (line) =>
        Effect.gen(function* () {
          const all = yield* crowded(line)
          const exits = yield* Effect.all(all.map(Fiber.await))
          assert.strictEqual(exits.filter(Exit.isFailure).length, 6)
          yield* turns
          line.socket.resume()
          assert.strictEqual(yield* ping, "PONG")
          assert.deepStrictEqual(yield* Effect.all([ping, ping, ping], { concurrency: 3 }), ["PONG", "PONG", "PONG"])
        }),
      { commandTimeout: 60 }
    )
  )

  it.live("are answered when the connection breaks while they are held back", () =>
    watched((line) =>
      Effect.gen(function* () {
        const all = yield* crowded(line)
        line.socket.destroy()
        assert.strictEqual((yield* answers(all)).length, 6)
        assert.strictEqual(yield* ping, "PONG")
      })
    )
  )
})
