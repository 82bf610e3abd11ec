/** `Qdrant` over @qdrant/js-client-rest: no retries but the saga's own; interruption and timeout abort the request. */
import { Config, Duration, Effect, Layer, Option, Redacted } from "effect"
import { Qdrant, QdrantError, type QdrantUpdate } from "../../services/Qdrant.ts"

export interface Options {
  /** Such as `http://127.0.0.1:6333`; the port is 6333 unless said, also of `https`. */
  readonly url: string
  readonly apiKey?: Redacted.Redacted
  /** Of one request; 5 seconds unless said. */
  readonly timeout?: Duration.Input
}

/** Nothing was sent yet. */
const unreached: ReadonlySet<string> = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"])

const has = <const Key extends string>(value: unknown, key: Key): value is { readonly [K in Key]: unknown } =>
  typeof value === "object" && value !== null && key in value

const networkCode = (cause: unknown): string => {
  if (has(cause, "code") && typeof cause.code === "string") return cause.code
  return has(cause, "cause") ? networkCode(cause.cause) : "unknown"
}

/** The client keeps what the server said in `data`, beside a message that is only the status. */
const said = (cause: unknown): unknown =>
  has(cause, "data") && has(cause.data, "status") && has(cause.data.status, "error")
    ? new Error(`${cause.data.status.error}`, { cause })
    : cause

const classify = (cause: unknown): QdrantError => {
  const status = has(cause, "retry_after") ? 429 : has(cause, "status") ? cause.status : undefined
  if (typeof status !== "number") {
    const code = networkCode(cause)
    return new QdrantError({ code, transient: true, maybeApplied: !unreached.has(code), cause })
  }
  const late = status === 408 || status < 400 || status >= 500
  return new QdrantError({
    code: `${status}`,
    transient: late || status === 429,
    maybeApplied: late,
    cause: said(cause)
  })
}

const operation = (update: QdrantUpdate) =>
  update._tag === "Upsert"
    ? {
        upsert: {
          points: [{ id: update.id, vector: [...update.vector], payload: update.payload }],
          update_filter: update.where
        }
      }
    : { set_payload: { payload: update.payload, filter: update.where } }

const make = Effect.fnUntraced(function* (options: Options) {
  const { QdrantClient } = yield* Effect.orDie(
    Effect.tryPromise({
      try: () => import("@qdrant/js-client-rest"),
      catch: () => new Error("the package @qdrant/js-client-rest is missing: npm install @qdrant/js-client-rest")
    })
  )
  const { origin, pathname } = new URL(options.url)
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "5 seconds")
  // The client's own timeout would take the place of our signal; and it wants the path of the URL apart.
  const api = new QdrantClient({
    url: origin,
    timeout: Number.POSITIVE_INFINITY,
    checkCompatibility: false,
    ...(pathname === "/" ? {} : { prefix: pathname.replace(/\/$/, "") }),
    ...(options.apiKey === undefined ? {} : { apiKey: Redacted.value(options.apiKey) })
  }).api()

  const request = <A>(send: (init: { readonly signal: AbortSignal }) => Promise<A>): Effect.Effect<A, QdrantError> =>
    Effect.tryPromise({ try: (signal) => send({ signal }), catch: classify }).pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () =>
          Effect.fail(
            new QdrantError({
              code: "timeout",
              transient: true,
              maybeApplied: true,
              cause: new Error(`no answer within ${Duration.format(timeout)}`)
            })
          )
      })
    )
  const answered = (code: string) => (error: QdrantError) => error.code === code

  return Qdrant.of({
    version: Effect.map(
      request((init) => api.root({}, init)),
      ({ data }) => data.version
    ),
    ensureCollection: Effect.fnUntraced(function* ({ distance, indexes, name, size }) {
      const there = request((init) => api.getCollection({ collection_name: name }, init))
      const { data } = yield* Effect.catchIf(there, answered("404"), () =>
        Effect.andThen(
          // Another process may have created it since.
          Effect.catchIf(
            request((init) => api.createCollection({ collection_name: name, vectors: { size, distance } }, init)),
            answered("409"),
            () => Effect.void
          ),
          there
        )
      )
      const indexed = data.result?.payload_schema ?? {}
      for (const [field_name, field_schema] of Object.entries(indexes)) {
        if (field_name in indexed) continue
        yield* request((init) =>
          api.createFieldIndex({ collection_name: name, wait: true, field_name, field_schema }, init)
        )
      }
    }),
    update: Effect.fnUntraced(function* (collection_name, updates) {
      // Strong ordering: of several replicas one decides the order, so each compares with the same floor.
      const { data } = yield* Effect.mapError(
        request((init) =>
          api.batchUpdate({ collection_name, wait: true, ordering: "strong", operations: updates.map(operation) }, init)
        ),
        (error) =>
          // The server may have refused a later one.
          updates.length === 1
            ? error
            : new QdrantError({ code: error.code, transient: error.transient, maybeApplied: true, cause: error.cause })
      )
      const pending = data.result?.find(({ status }) => status !== "completed")
      if (pending === undefined && data.result?.length === updates.length) return
      return yield* new QdrantError({
        code: "pending",
        transient: true,
        maybeApplied: true,
        cause: new Error(`the server has not applied the update yet: ${pending?.status}`)
      })
    }),
    payload: (collection_name, id, fields) =>
      Effect.map(
        request((init) =>
          api.getPoints(
            {
              collection_name,
              consistency: "majority",
              ids: [id],
              with_payload: fields === undefined ? true : [...fields],
              with_vector: false
            },
            init
          )
        ),
        ({ data }) => {
          const [point] = data.result ?? []
          return point === undefined ? undefined : (point.payload ?? {})
        }
      )
  })
})

export const layer = (options: Options): Layer.Layer<Qdrant> => Layer.effect(Qdrant, make(options))

/** From `QDRANT_URL`, and `QDRANT_API_KEY` if the server asks for one. */
export const layerConfig: Layer.Layer<Qdrant, Config.ConfigError> = Layer.unwrap(
  Effect.map(
    Config.all({
      url: Config.String("QDRANT_URL"),
      apiKey: Config.option(Config.Redacted("QDRANT_API_KEY"))
    }),
    ({ apiKey, url }) => layer({ url, ...(Option.isSome(apiKey) ? { apiKey: apiKey.value } : {}) })
  )
)
