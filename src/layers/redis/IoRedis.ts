/**
 * Effect's `Redis` service over ioredis 6: one auto-pipelined connection for commands, one per subscription.
 *
 * **Details**
 *
 * A command fails with `RedisError` when Redis does not answer within `commandTimeout` (5 seconds unless said) or the
 * connection breaks; it never waits without end. Subscriptions come back by themselves, and then deliver one message
 * with the empty text: what was published in between is lost.
 */
import { Config, Effect, Layer, Redacted } from "effect"
import * as Redis from "effect/persistence/Redis"
import type { Redis as Client, RedisOptions } from "ioredis"

export type Options = Omit<RedisOptions, "replyMapping">

const failure = (cause: unknown) => new Redis.RedisError({ cause })

const load = Effect.tryPromise({
  try: () => import("ioredis"),
  catch: () => failure(new Error("the package ioredis is missing: npm install ioredis"))
})

const make = Effect.fnUntraced(function* (options: Options) {
  const { Redis: IoRedis } = yield* load
  const open = Effect.acquireRelease(
    Effect.tryPromise({
      try: async () => {
        const client = new IoRedis({
          enableAutoPipelining: true,
          maxRetriesPerRequest: 1,
          commandTimeout: 5000,
          connectTimeout: 5000,
          retryStrategy: (times: number) => Math.min(times * 50, 500),
          ...options,
          lazyConnect: true
        })
        // Each failed command reports itself; without a listener the client would print it too.
        client.on("error", () => {})
        try {
          await client.connect()
        } catch (cause) {
          client.disconnect()
          throw cause
        }
        return client
      },
      catch: failure
    }),
    (client) => Effect.sync(() => client.disconnect())
  )
  const sendOn =
    (client: Client): Redis.Redis["Service"]["send"] =>
    <A>(command: string, ...args: ReadonlyArray<string>) =>
      Effect.tryPromise({ try: () => reply<A>(client.call(command, ...args)), catch: failure })

  const client = yield* open
  return yield* Redis.make({
    send: sendOn(client),
    connect: Effect.map(
      Effect.tryPromise({
        try: async () => {
          // A blocking command may take as long as it was asked to.
          const dedicated = client.duplicate({ enableAutoPipelining: false })
          dedicated.options.commandTimeout = undefined
          dedicated.on("error", () => {})
          await dedicated.connect()
          return dedicated
        },
        catch: failure
      }),
      (dedicated) => ({ send: sendOn(dedicated), close: Effect.sync(() => dedicated.disconnect()) })
    ),
    subscribe: Effect.fnUntraced(function* (channel, onMessage) {
      const subscriber = yield* open
      subscriber.on("message", (from, message) => onMessage({ channel: from, message }))
      yield* Effect.tryPromise({ try: () => subscriber.subscribe(channel), catch: failure })
      subscriber.on("ready", () => onMessage({ channel, message: "" }))
      return Effect.never
    })
  })
})

/** Redis' reply to a command has the type its caller expects of that command: the one cast of this module. */
const reply = <A>(answer: Promise<unknown>): Promise<A> => answer as Promise<A>

export const layer = (options: Options): Layer.Layer<Redis.Redis, Redis.RedisError> =>
  Layer.effect(Redis.Redis, make(options))

const parse = (url: string): Effect.Effect<Options, Redis.RedisError> =>
  Effect.try({
    try: () => {
      const { hostname, password, pathname, port, protocol, username } = new URL(url)
      if (protocol !== "redis:" && protocol !== "rediss:") throw new Error(`not a redis: or rediss: URL: ${protocol}`)
      return {
        host: hostname || "127.0.0.1",
        port: port === "" ? 6379 : Number(port),
        db: Number(pathname.slice(1) || "0"),
        ...(username === "" ? {} : { username: decodeURIComponent(username) }),
        ...(password === "" ? {} : { password: decodeURIComponent(password) }),
        ...(protocol === "rediss:" ? { tls: {} } : {})
      }
    },
    catch: failure
  })

/** From a URL such as `redis://user:password@host:6379/0`. */
export const layerUrl = (url: string, options: Options = {}): Layer.Layer<Redis.Redis, Redis.RedisError> =>
  Layer.effect(
    Redis.Redis,
    Effect.flatMap(parse(url), (parsed) => make({ ...parsed, ...options }))
  )

/** From `REDIS_URL`. */
export const layerConfig: Layer.Layer<Redis.Redis, Redis.RedisError | Config.ConfigError> = Layer.unwrap(
  Effect.map(Config.Redacted("REDIS_URL"), (url) => layerUrl(Redacted.value(url)))
)
