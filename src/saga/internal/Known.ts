/** Which sagas a process can settle though another runs at the moment: those that its recovery was given. */
import type { Context } from "effect"
import type { SagaJournal } from "../../services/SagaJournal.ts"
import type { SagaDefinition } from "./Request.ts"

export interface Known {
  readonly saga: SagaDefinition
  /** The services of its steps; undefined: they are at hand. */
  readonly services: Context.Context<never> | undefined
}

const known = new WeakMap<SagaJournal, Map<string, Known>>()

/** Kept beside the journal that it is about, so that programs and tests in one process do not mix. */
export const makeKnown = (journal: SagaJournal, sagas: ReadonlyArray<Known>): void => {
  const all = known.get(journal) ?? new Map<string, Known>()
  for (const one of sagas) all.set(one.saga.name, one)
  known.set(journal, all)
}

/** The declaration of that very version: nothing is guessed from another. */
export const versionOf = (saga: SagaDefinition, version: number): SagaDefinition | undefined =>
  saga.version === version ? saga : saga.previous.get(version)

/** `at hand`: the saga that runs, whose services the fiber has. */
export const findKnown = (
  journal: SagaJournal,
  atHand: ReadonlyArray<SagaDefinition>,
  name: string,
  version: number
): Known | string => {
  const own = atHand.find((saga) => saga.name === name)
  const found = own === undefined ? known.get(journal)?.get(name) : { saga: own, services: undefined }
  if (found === undefined) return `this process does not know the saga ${name}: give it to SagaRecovery.layer`
  const saga = versionOf(found.saga, version)
  if (saga === undefined) {
    return `this process does not know version ${version} of ${name}: give it to Saga.make as one of previous`
  }
  return { ...found, saga }
}
