/** A map of things that keep their floors: the rule every store of the saga follows, in its plainest form. */
import type { Step } from "../../index.ts"

export type Writer = Step.SagaRun["Service"]

/** What a thing is, and who wrote it. */
export interface Imaged<A> {
  readonly value: A | undefined
  readonly stamp: { readonly sagaId: string; readonly call: number } | undefined
}

interface Thing<A> {
  floor: number
  /** Whose fence the floor is. */
  floorSaga: string
  value: A | undefined
  /** Who wrote the value. */
  stamp: { readonly sagaId: string; readonly call: number } | undefined
}

export class FlooredMap<A> {
  readonly #things = new Map<string, Thing<A>>()
  /** Every write that was applied, in order: which saga wrote which thing. */
  readonly log: Array<{
    readonly key: string
    readonly sagaId: string
    readonly kind: "write" | "remove" | "restore"
  }> = []

  get(key: string): A | undefined {
    return this.#things.get(key)?.value
  }

  image(key: string): Imaged<A> {
    const thing = this.#things.get(key)
    return { value: thing?.value, stamp: thing?.stamp }
  }

  keys(): ReadonlyArray<string> {
    return [...this.#things].filter(([, thing]) => thing.value !== undefined).map(([key]) => key)
  }

  /** Raises the floor, or yields the floor that refuses the writer. */
  #raise(key: string, writer: Writer): Thing<A> | number {
    const thing = this.#things.get(key) ?? { floor: -1, floorSaga: "", value: undefined, stamp: undefined }
    if (thing.floor > writer.fence || (thing.floor === writer.fence && thing.floorSaga !== writer.sagaId)) {
      return thing.floor
    }
    thing.floor = writer.fence
    thing.floorSaga = writer.sagaId
    this.#things.set(key, thing)
    return thing
  }

  /** `undefined` as value removes, and leaves the floor. Yields the refusing floor. */
  write(key: string, value: A | undefined, writer: Writer): number | undefined {
    const thing = this.#raise(key, writer)
    if (typeof thing === "number") return thing
    if (thing.stamp?.sagaId === writer.sagaId && thing.stamp.call === writer.call) return undefined
    thing.value = value
    thing.stamp = { sagaId: writer.sagaId, call: writer.call }
    this.log.push({ key, sagaId: writer.sagaId, kind: value === undefined ? "remove" : "write" })
    return undefined
  }

  /** Replaces only what the same saga wrote. */
  restore(key: string, before: Imaged<A>, writer: Writer): number | undefined {
    const thing = this.#raise(key, writer)
    if (typeof thing === "number") return thing
    if (thing.stamp?.sagaId !== writer.sagaId) return undefined
    thing.value = before.value
    thing.stamp = before.stamp
    this.log.push({ key, sagaId: writer.sagaId, kind: "restore" })
    return undefined
  }
}
