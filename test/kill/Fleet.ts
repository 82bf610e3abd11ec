/** Two worker processes at work, and others warmed up to take the place of one that was killed. */
import { type ChildProcess, fork } from "node:child_process"
import type { FromWorker, Servers, ToWorker } from "./Messages.ts"

export interface Worker {
  readonly child: ChildProcess
  readonly ready: Promise<void>
  readonly died: Promise<number>
  readonly send: (message: ToWorker) => void
  onMessage: (message: FromWorker) => void
}

const start = (servers: Servers, spool: string): Worker => {
  const child = fork(new URL("./worker.ts", import.meta.url).pathname, {
    env: { ...process.env, SERVERS: JSON.stringify(servers), SPOOL_FOLDER: spool },
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })
  const worker: Worker = {
    child,
    ready: new Promise((resolve, reject) => {
      child.once("exit", () => reject(new Error("a worker ended before it was ready")))
      child.on("message", (message: FromWorker) => {
        if (message.kind === "ready") resolve()
        else worker.onMessage(message)
      })
    }),
    died: new Promise((resolve) => child.once("exit", () => resolve(Date.now()))),
    send: (message) => {
      if (child.connected) child.send(message, () => {})
    },
    onMessage: () => {}
  }
  return worker
}

export interface Fleet {
  /** A warm worker; another is started in its place. */
  readonly take: () => Promise<Worker>
  readonly end: () => void
}

export const makeFleet = (servers: Servers, spool: string, spares: number): Fleet => {
  const all = new Set<Worker>()
  const spare: Array<Worker> = []
  const add = () => {
    const worker = start(servers, spool)
    all.add(worker)
    worker.died.then(() => all.delete(worker))
    spare.push(worker)
  }
  for (let i = 0; i < spares; i++) add()
  return {
    take: async () => {
      add()
      const worker = spare.shift()
      if (worker === undefined) throw new Error("there is no worker")
      await worker.ready
      return worker
    },
    end: () => {
      for (const { child } of all) child.kill("SIGKILL")
    }
  }
}
