/** A request of this process as it waits for its locks, or for a result. */
import type { Context } from "effect"
import type { IdempotencyRequest } from "../../services/Idempotency.ts"
import type { Passenger } from "../guard/Landings.ts"
import type { Place } from "../lock/Places.ts"
import { Bell, type Signal } from "../lock/Waiting.ts"
import type { Landed } from "./Records.ts"
import { Entry } from "./SagaGuardEntry.ts"

/** It has its place in the queues of what it locks, and is told of what is recorded. Most need never wait. */
export class Waiter extends Entry implements Place<Signal>, Passenger<Landed> {
  declare readonly what: string
  /** When it came, in milliseconds. */
  declare readonly since: number
  declare found: Landed | undefined
  declare recorded: boolean
  declare isQueued: boolean
  declare isAboard: boolean
  declare relies: boolean
  /** Its question is on its way. */
  declare isAsking: boolean
  declare readonly caller: Context.Context<never>
  declare private readonly context: Context.Context<never>
  declare private bell: Bell | undefined

  constructor(
    request: IdempotencyRequest,
    names: ReadonlyArray<string>,
    record: string,
    token: string,
    { caller, context }: { readonly caller: Context.Context<never>; readonly context: Context.Context<never> },
    since: number
  ) {
    super(request, names, record, token)
    this.what = sameResult(request, record)
    this.caller = caller
    this.context = context
    this.since = since
    this.found = undefined
    this.recorded = false
    this.isQueued = true
    this.isAboard = false
    this.relies = false
    this.isAsking = false
    this.bell = undefined
  }

  get resources() {
    return this.names
  }
  get changed(): Bell {
    this.bell ??= new Bell(this.context)
    return this.bell
  }
}

/** Who may have the very same result: of a derived key only while nobody else wrote any of the resources. */
const sameResult = (request: IdempotencyRequest, record: string) =>
  request.derived ? [record, ...request.resources].join("\n") : record
