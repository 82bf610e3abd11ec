/** Which definition belongs to a saga's public value. */
import type { SagaDefinition } from "./Request.ts"

const definitions = new WeakMap<object, SagaDefinition>()

export const defineSaga = <Saga extends object>(saga: Saga, definition: SagaDefinition): Saga => {
  definitions.set(saga, definition)
  return saga
}

export const sagaOf = (saga: { readonly sagaName: string }): SagaDefinition => {
  const definition = definitions.get(saga)
  if (definition === undefined) {
    throw new TypeError(`${saga.sagaName} is not a saga of this copy of effect-saga: make it with Saga.make`)
  }
  return definition
}
