/** The processes of an experiment: what one tells arrives, and one that ends without having told is an error. */
import { type ChildProcess, fork } from "node:child_process"

/** A process of a file, which has `argument`, written as JSON, as its first. */
export const start = (file: URL, argument: unknown, execArgv: ReadonlyArray<string> = []): ChildProcess =>
  fork(file, [JSON.stringify(argument)], { execArgv: [...process.execArgv, ...execArgv] })

/** What the process tells next. */
export const next = (child: ChildProcess): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const ended = (code: number | null, signal: NodeJS.Signals | null) =>
      reject(
        new Error(`a process ended without an answer, with ${signal ?? `code ${code}`}: what it wrote stands above`)
      )
    if (child.exitCode !== null || child.signalCode !== null) return ended(child.exitCode, child.signalCode)
    child.once("exit", ended)
    child.once("message", (message) => {
      child.off("exit", ended)
      resolve(message)
    })
  })

const orphaned = () => process.exit(1)

/**
 * Tells the process that started this one; resolved once it is on its way, before which nobody may exit. Who has told
 * something ends when that process does, however it ends.
 */
export const tell = (message: unknown): Promise<void> =>
  new Promise((resolve, reject) => {
    if (process.send === undefined) return reject(new Error("this file is started by `npm run bench:scale`"))
    process.off("disconnect", orphaned).once("disconnect", orphaned)
    process.send(message, (error: Error | null) => (error === null ? resolve() : reject(error)))
  })
