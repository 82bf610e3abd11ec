import { Context } from "effect"

/** The running saga. Writes carry `fence`, `sagaId` and `call`, so a store can refuse a stale writer and know its own. */
export class SagaRun extends Context.Service<
  SagaRun,
  {
    readonly sagaId: string
    readonly resources: ReadonlyArray<string>
    readonly fence: number
    readonly call: number
  }
>()("effect-saga/saga/SagaRun") {}
