/**
 * Effect's `Redis` service over ioredis, 5 or 6: one pipelined connection for commands, one per subscription.
 *
 * **Details**
 *
 * A command fails with `RedisError` when Redis does not answer within `commandTimeout` (5 seconds unless said) or the
 * connection breaks twice; it never waits without end. A command whose reply was lost with the connection is sent once
 * more, so scripts must bear being run twice. Subscriptions come back by themselves, and then deliver one message with
 * the empty text: what was published in between is lost.
 *
 * A lone command leaves at once. While others wait for their answers, those of one turn of the event loop leave together,
 * in one write; while many do, once they have been answered, unless Redis takes longer than 5 ms for that (`Gathering`).
 * ioredis' own `enableAutoPipelining` makes a pipeline and waits a turn even for a command that is alone.
 *
 * **Gotchas**
 *
 * The layer fails when Redis cannot be reached while it is built; afterwards it reconnects for as long as it lives.
 */
import { hash } from "node:crypto"
import { Clock, Config, Context, Effect, Layer, Option, Redacted } from "effect"
import * as Redis from "effect/persistence/Redis"
import type { Redis as Client, Command, RedisOptions } from "ioredis"
import { type Deadlines, deadlinesIn, type Limit, type Line } from "../../services/Deadlines.ts"
import { Gathering } from "./Gathering.ts"
import type { SendsWhile } from "./SendWhile.ts"

export type Options = Omit<RedisOptions, "replyMapping">

const failure = (cause: unknown) => new Redis.RedisError({ cause })

const load = Effect.tryPromise({
  try: () => import("ioredis"),
  catch: () => failure(new Error("the package ioredis is missing: npm install ioredis"))
})

/** Connects, or leaves nothing behind that would go on trying. */
const connected = async (client: Client): Promise<Client> => {
  // Each failed command reports itself; without a listener the client would print it too.
  client.on("error", () => {})
  try {
    await client.connect()
    return client
  } catch (cause) {
    client.disconnect()
    throw cause
  }
}

const make = Effect.fnUntraced(function* (options: Options) {
  const { Command, Redis: IoRedis } = yield* load
  const context = yield* Effect.context<never>()
  const clock = Context.get(context, Clock.Clock)
  const deadlines = deadlinesIn(context)
  const open = (overrides: Options = {}) =>
    Effect.acquireRelease(
      Effect.tryPromise({
        try: () =>
          connected(
            new IoRedis({
              maxRetriesPerRequest: 1,
              commandTimeout: 5000,
              connectTimeout: 5000,
              retryStrategy: (times: number) => Math.min(times * 50, 500),
              ...options,
              ...overrides,
              lazyConnect: true
            })
          ),
        catch: failure
      }),
      (client) => Effect.sync(() => client.disconnect())
    )
  /** ioredis would start a timer for each command. */
  class Limited extends Command implements Limit {
    declare until: number
    declare line: Line | undefined
    declare before: Limit | undefined
    declare after: Limit | undefined
    constructor(name: string, args: Array<string>, options: typeof TEXT & { readonly keyPrefix?: string }) {
      super(name, args, options)
      this.until = 0
      this.line = undefined
      this.before = undefined
      this.after = undefined
    }
    override setTimeout() {}
    expire() {
      this.reject(new Error("Command timed out"))
    }
  }
  const on = (client: Client) => {
    const { keyPrefix } = client.options
    const isPrefixed = keyPrefix !== undefined && keyPrefix.length > 0
    const given = isPrefixed ? { ...TEXT, keyPrefix } : TEXT
    const command = (name: string, args: Array<string>) => {
      if (!isPrefixed) return new Limited(name, args, given)
      // The oldest finds the keys only of a name in small letters, by which it would then give the reply another shape too.
      const made = new Limited(name.toLowerCase(), args, given)
      made.name = name
      return made
    }
    /** Of texts alone. ioredis copies a list to see what is in it, and that costs as much as the rest of a command. */
    const ofTexts = (name: string, args: Array<string>) => {
      const made = new Limited(name, [], given)
      made.args = args
      return made
    }
    const sendNow = sending(client, clock, deadlines)
    const send: Redis.Redis["Service"]["send"] = (name, ...args: Array<string>) => sendNow(() => command(name, args))
    const sendWhile: SendsWhile["sendWhile"] = (meanwhile, name, ...args) =>
      sendNow(() => command(name, args), undefined, meanwhile)
    return { send, sendWhile, eval: evalBy(sendNow, isPrefixed ? command : ofTexts) }
  }

  const client = yield* open()
  const main = on(client)
  const redis = yield* Redis.make({
    send: main.send,
    connect: Effect.map(
      Effect.tryPromise({
        try: async () => {
          // A reserved connection is thrown away when it breaks.
          const dedicated = await connected(client.duplicate({ retryStrategy: () => null }))
          // A blocking command may take as long as it was asked to.
          delete dedicated.options.commandTimeout
          return dedicated
        },
        catch: failure
      }),
      (dedicated) => ({ send: on(dedicated).send, close: Effect.sync(() => dedicated.disconnect()) })
    ),
    subscribe: Effect.fnUntraced(function* (channel, onMessage) {
      // ioredis' own resubscription neither tells when it is done nor survives a failure.
      const subscriber = yield* open({ autoResubscribe: false })
      subscriber.on("message", (from, message) => onMessage({ channel: from, message }))
      yield* Effect.tryPromise({ try: () => subscriber.subscribe(channel), catch: failure })
      subscriber.on("ready", () =>
        subscriber.subscribe(channel).then(
          () => onMessage({ channel, message: "" }),
          () => subscriber.disconnect(true)
        )
      )
      return Effect.never
    })
  })
  return { ...redis, sendWhile: main.sendWhile, eval: main.eval }
})

const TEXT = { replyEncoding: "utf8" } as const

type Sent = Command & Limit

/**
 * Makes the command when it is sent, since it is sent again when the effect is run again; `instead` of a refused one, unless
 * whoever asked was interrupted meanwhile, and `meanwhile` once it has left.
 */
type Sending = <A>(
  make: () => Sent,
  instead?: (refusal: string) => Effect.Effect<A, Redis.RedisError> | undefined,
  meanwhile?: () => void
) => Effect.Effect<A, Redis.RedisError>

const sending = (client: Client, clock: Clock.Clock, deadlines: Deadlines): Sending => {
  const gathering = new Gathering(client, clock)
  const answered = (command: Sent) => {
    gathering.answered()
    deadlines.lift(command)
  }
  return <A>(
    make: () => Sent,
    instead?: (refusal: string) => Effect.Effect<A, Redis.RedisError> | undefined,
    meanwhile?: () => void
  ) =>
    Effect.callback<A, Redis.RedisError>((resume) => {
      const command = make()
      const { commandTimeout } = client.options
      if (commandTimeout === undefined) gathering.asks(clock.currentTimeMillisUnsafe())
      else {
        deadlines.set(commandTimeout, command)
        gathering.asks(command.until - commandTimeout)
      }
      client.sendCommand(command)
      reply<A>(command.promise).then(
        (answer) => {
          answered(command)
          resume(Effect.succeed(answer))
        },
        (cause) => {
          answered(command)
          resume(instead?.(String(cause)) ?? Effect.fail(failure(cause)))
        }
      )
      meanwhile?.()
    })
}

const digests = new WeakMap<object, string>()
const digestOf = (script: { readonly lua: string }): string => {
  const known = digests.get(script)
  if (known !== undefined) return known
  const digest = hash("sha1", script.lua)
  digests.set(script, digest)
  return digest
}

/**
 * By its digest, which needs no asking; a Redis that does not know the script gets it with the call. ioredis looks names up
 * in small letters.
 */
const evalBy =
  (send: Sending, command: (name: string, args: Array<string>) => Sent): Redis.Redis["Service"]["eval"] =>
  (script) => {
    const digest = digestOf(script)
    return (...params) => {
      const args = [digest, String(script.numberOfKeys(...params))]
      for (const one of script.params(...params)) args.push(typeof one === "string" ? one : String(one))
      return send(
        () => command("evalsha", args),
        (refusal) =>
          refusal.includes("NOSCRIPT") ? send(() => command("eval", [script.lua, ...args.slice(1)])) : undefined
      )
    }
  }

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

const settings = Config.all({
  url: Config.option(Config.Redacted("REDIS_URL")),
  host: Config.String("REDIS_HOST").pipe(Config.withDefault("127.0.0.1")),
  port: Config.Port("REDIS_PORT").pipe(Config.withDefault(6379)),
  username: Config.option(Config.String("REDIS_USERNAME")),
  password: Config.option(Config.Redacted("REDIS_PASSWORD"))
})

/** From `REDIS_URL`; without it from `REDIS_HOST` (127.0.0.1), `REDIS_PORT` (6379), `REDIS_USERNAME`, `REDIS_PASSWORD`. */
export const layerConfig: Layer.Layer<Redis.Redis, Redis.RedisError | Config.ConfigError> = Layer.unwrap(
  Effect.map(settings, ({ host, password, port, url, username }) =>
    Option.isSome(url)
      ? layerUrl(Redacted.value(url.value))
      : layer({
          host,
          port,
          ...(Option.isSome(username) ? { username: username.value } : {}),
          ...(Option.isSome(password) ? { password: Redacted.value(password.value) } : {})
        })
  )
)
