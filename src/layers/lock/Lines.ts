/**
 * Values by name, those of one name in the order they came. Most names have a single value, which then stands for
 * itself; of a long line the first is known without passing over the gaps that those before it have left.
 */

export interface Lines<V extends object> {
  /** At the end of its line, where a value stands once; whether it is the first there. */
  readonly add: (name: unknown, value: V) => boolean
  /** How many still stand there; undefined if it did not. */
  readonly remove: (name: unknown, value: V) => number | undefined
  readonly first: (name: unknown) => V | undefined
  readonly all: (name: unknown) => Iterable<V>
  readonly isEmpty: () => boolean
  readonly names: () => Iterable<unknown>
}

/** Of more than one value. */
class Line<V extends object> {
  readonly values: Set<V>
  /** Those behind the first. */
  readonly others: Iterator<V>
  first: V | undefined

  constructor(...values: ReadonlyArray<V>) {
    this.values = new Set(values)
    this.others = this.values.values()
    this.first = this.others.next().value
  }

  remove(value: V): number | undefined {
    if (!this.values.delete(value)) return undefined
    if (this.first === value) this.first = this.others.next().value
    return this.values.size
  }
}

/** So many names cost less to look through than a table, which has to hash each: those of a saga alone. */
const FEW = 2

/** The name of nobody, without a value: the engine makes a table that gets empty anew each time. */
const NOBODY = Symbol("nobody")

/** What stands under a name; kept in a table only where there are many names. */
const makeNames = <L>() => {
  const few: Array<{ readonly name: unknown; line: L }> = []
  const many = new Map<unknown, L | undefined>([[NOBODY, undefined]])
  const among = (name: unknown) => {
    for (const one of few) if (one.name === name) return one
    return undefined
  }
  return {
    get: (name: unknown): L | undefined => among(name)?.line ?? (many.size > 1 ? many.get(name) : undefined),
    set: (name: unknown, line: L): void => {
      const one = among(name)
      if (one !== undefined) one.line = line
      else if (few.length < FEW && !(many.size > 1 && many.has(name))) few.push({ name, line })
      else many.set(name, line)
    },
    delete: (name: unknown): void => {
      const one = among(name)
      if (one === undefined) {
        many.delete(name)
        return
      }
      const last = few.pop()
      if (last !== undefined && last !== one) few[few.indexOf(one)] = last
    },
    isEmpty: () => few.length === 0 && many.size === 1,
    all: () => [...few.map(({ name }) => name), ...[...many.keys()].slice(1)]
  }
}

export const makeLines = <V extends object>(): Lines<V> => {
  const lines = makeNames<V | Line<V>>()
  return {
    add: (name, value) => {
      const line = lines.get(name)
      if (line === undefined) lines.set(name, value)
      else if (line instanceof Line) line.values.add(value)
      else if (line !== value) lines.set(name, new Line(line, value))
      return line === undefined || line === value || (line instanceof Line && line.first === value)
    },
    remove: (name, value) => {
      const line = lines.get(name)
      if (line instanceof Line) {
        const left = line.remove(value)
        if (left === 0) lines.delete(name)
        return left
      }
      if (line !== value) return undefined
      lines.delete(name)
      return 0
    },
    first: (name) => {
      const line = lines.get(name)
      return line instanceof Line ? line.first : line
    },
    all: (name) => {
      const line = lines.get(name)
      return line === undefined ? [] : line instanceof Line ? line.values : [line]
    },
    isEmpty: lines.isEmpty,
    names: lines.all
  }
}
