/** A server of the tests: a child on a free port of 127.0.0.1, with its data in a temp folder, ended by pid. */
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { createServer } from "node:net"

export interface RunningServer {
  readonly name: string
  readonly url: string
  readonly port: number
  readonly pid: () => number
  /** Ends it and removes its data. */
  readonly stop: () => Promise<void>
  /** SIGKILL, at once; the data stays. */
  readonly kill: () => Promise<void>
  /** Starts it again on the same port and data. */
  readonly restart: () => Promise<void>
  readonly pause: () => void
  readonly resume: () => void
}

export interface Recipe {
  readonly name: string
  readonly url: string
  readonly port: number
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly options: {
    readonly cwd?: string
    readonly uid?: number
    readonly gid?: number
    readonly env?: NodeJS.ProcessEnv
  }
  readonly ready: () => Promise<void>
  readonly cleanUp: () => Promise<void>
  /** Which signal ends it cleanly. */
  readonly end: NodeJS.Signals
}

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once("error", reject)
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() =>
        address !== null && typeof address === "object" ? resolve(address.port) : reject(new Error("no free port"))
      )
    })
  })

export const until = async (ready: () => Promise<unknown>, what: string, seconds = 60): Promise<void> => {
  const end = Date.now() + seconds * 1000
  for (;;) {
    try {
      await ready()
      return
    } catch (cause) {
      if (Date.now() > end) throw new Error(`${what} did not become ready within ${seconds} s`, { cause })
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

/** `setpriv` (util-linux) has the kernel end the child when this process dies, however it dies. */
const launch = (recipe: Recipe): ChildProcess => {
  const guard = existsSync("/usr/bin/setpriv") ? ["/usr/bin/setpriv", "--pdeathsig", "KILL"] : []
  const user =
    recipe.options.uid === undefined
      ? []
      : ["--reuid", `${recipe.options.uid}`, "--regid", `${recipe.options.gid}`, "--clear-groups"]
  const [command = recipe.command, ...args] = [...guard, ...user, recipe.command, ...recipe.args]
  return spawn(command, args, { stdio: ["ignore", "ignore", "pipe"], cwd: recipe.options.cwd, env: recipe.options.env })
}

export const run = async (recipe: Recipe): Promise<RunningServer> => {
  let child: ChildProcess
  let gone: Promise<void>
  const start = async () => {
    child = launch(recipe)
    let errors = ""
    child.stderr?.on("data", (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-2000)
    })
    gone = new Promise((resolve) => child.once("close", () => resolve()))
    await until(async () => {
      if (child.exitCode !== null) return
      await recipe.ready()
    }, recipe.name)
    if (child.exitCode !== null) throw new Error(`${recipe.name} ended at once: ${errors}`)
  }
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) {
      // Who is to be killed at once must not get to anything more.
      if (signal !== "SIGKILL") child.kill("SIGCONT")
      child.kill(signal)
    }
    const patience = setTimeout(() => child.kill("SIGKILL"), 10_000)
    await gone
    clearTimeout(patience)
  }
  await start()
  return {
    name: recipe.name,
    url: recipe.url,
    port: recipe.port,
    pid: () => child.pid ?? 0,
    stop: async () => {
      await end(recipe.end)
      await recipe.cleanUp()
    },
    kill: () => end("SIGKILL"),
    restart: async () => {
      await end(recipe.end)
      await start()
    },
    pause: () => void child.kill("SIGSTOP"),
    resume: () => void child.kill("SIGCONT")
  }
}
