/** What can happen to a process at one of its writes or step attempts. */

export const faults = [
  /** The process is gone before it happens. */
  "crashBefore",
  /** It happened, and the process is gone. */
  "crashAfter",
  /** The process stands still for longer than its lease, then goes on as if nothing had been. */
  "pauseBefore",
  "pauseAfter",
  /** It happens twice, as a message that is sent again. */
  "repeat",
  /** It does not happen, and an error says so. */
  "fail",
  /** It happened, and an error (or silence) comes back. */
  "loseReply",
  /** The lease is gone, and the holder does not know. */
  "loseLock",
  /** The fiber that executes the saga is interrupted. */
  "interrupt"
] as const

export type Fault = (typeof faults)[number]

/** A fault at the event of that number, counted from 0. */
export interface Planned {
  readonly at: number
  readonly fault: Fault
}

export interface Schedule {
  readonly faults: ReadonlyArray<Planned>
  /** Whether a second saga on the same resource is executed in between. */
  readonly second: boolean
}

/** Such as "fail@3,crashAfter@7+second". */
export const seedOf = (schedule: Schedule): string =>
  (schedule.faults.map(({ at, fault }) => `${fault}@${at}`).join(",") || "none") + (schedule.second ? "+second" : "")

/** Undefined if it is not a seed. */
export const scheduleOf = (seed: string): Schedule | undefined => {
  const match = /^([a-zA-Z@0-9,]+?)(\+second)?$/.exec(seed)
  if (match?.[1] === undefined) return undefined
  const planned: Array<Planned> = []
  for (const part of match[1] === "none" ? [] : match[1].split(",")) {
    const [name, at] = part.split("@")
    const fault = faults.find((one) => one === name)
    if (fault === undefined || at === undefined || !/^\d+$/.test(at)) return undefined
    planned.push({ at: Number(at), fault })
  }
  return { faults: planned, second: match[2] !== undefined }
}
