/**
 * The peer benchmark at run time: copied out of the folder `PEERS`, set up once in the temp folder, and run there with
 * our contenders beside its own. Its folder is only read.
 */
import { type SpawnOptions, spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { cp, mkdir, readdir, readFile, rm, symlink, unlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { freePort } from "../../test/servers/Server.ts"

/** What went wrong, in one sentence with its remedy. */
export class Refused extends Error {}

export interface Plan {
  readonly only: ReadonlyArray<string>
  readonly rounds: number
  readonly offRounds: number
  readonly count: string
}

const ours = fileURLToPath(new URL("./contenders/", import.meta.url))

/** The contenders of this folder, by name. */
export const ourContenders = async (): Promise<ReadonlyArray<string>> =>
  (await readdir(ours))
    .filter((file) => file.endsWith(".ts"))
    .map((file) => file.slice(0, -".ts".length))
    .sort()

const NEEDED = ["bench.js", "worker.js", "run.sh", "setup.sh", "services.sh", "env.sh", "package-lock.json"]

const sourceFolder = (): string => {
  const folder = process.env.PEERS
  const remedy = "start it as PEERS=/path/to/peers npm run bench:peers, with the folder of the peer benchmark"
  if (folder === undefined || folder === "") throw new Refused(`PEERS is not set: ${remedy}`)
  const missing = NEEDED.find((file) => !existsSync(join(folder, file)))
  if (missing !== undefined) throw new Refused(`PEERS is ${folder}, which has no ${missing}: ${remedy}`)
  return folder
}

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Two runs in one home would drop each other's databases. */
const claim = async (home: string): Promise<string> => {
  const file = join(home, "run.pid")
  const holder = existsSync(file) ? Number(await readFile(file, "utf8")) : 0
  if (holder > 0 && isAlive(holder)) {
    throw new Refused(`process ${holder} is benchmarking in ${home}: wait for it, or set PEERS_HOME to another folder`)
  }
  await writeFile(file, String(process.pid))
  return file
}

/** Ends with the script's exit code. Its group dies with us, so nothing is left behind by Ctrl-C. */
const script = (command: string, args: ReadonlyArray<string>, options: SpawnOptions): Promise<number> =>
  new Promise((resolve, reject) => {
    // Our stdout is for the table and the numbers.
    const child = spawn(command, args, { ...options, stdio: ["ignore", 2, 2], detached: true })
    const end = () => {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGTERM")
    }
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, end)
    child.once("error", reject)
    child.once("exit", (code) => {
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, end)
      resolve(code ?? 1)
    })
  })

const copied = async (from: string, home: string): Promise<string> => {
  const harness = join(home, "harness")
  await rm(harness, { recursive: true, force: true })
  await mkdir(harness, { recursive: true })
  // A read-only original makes read-only copies, and setup links its packages into the folder.
  const name = (file: string) => join(harness, file)
  for (const file of await readdir(from, { recursive: true, withFileTypes: true })) {
    const path = join(file.parentPath, file.name)
    const below = path.slice(from.length + 1)
    if (below.startsWith("node_modules")) continue
    if (file.isDirectory()) await mkdir(name(below), { recursive: true })
    else {
      await mkdir(dirname(name(below)), { recursive: true })
      await cp(path, name(below))
    }
  }
  // By link, so that our contenders find our packages and its own find its own.
  for (const contender of await ourContenders()) {
    await symlink(join(ours, `${contender}.ts`), name(join("contenders", `${contender}.js`)))
  }
  return harness
}

/** Packages and a database cluster, unless an earlier run with the same lock file made them. */
const setUp = async (harness: string, home: string, env: NodeJS.ProcessEnv) => {
  const mark = join(home, "set-up")
  const lock = await readFile(join(harness, "package-lock.json"), "utf8")
  if (existsSync(mark) && (await readFile(mark, "utf8")) === lock) {
    await symlink(join(home, "node_modules"), join(harness, "node_modules"))
  } else {
    const code = await script("bash", ["./setup.sh"], { cwd: harness, env })
    if (code !== 0) throw new Refused(`setup.sh of the peer benchmark ended with ${code}: see its words above`)
    await writeFile(mark, lock)
  }
  // The last line counts: the port was free a moment ago, the one of the setup may not be any more.
  await writeFile(join(home, "pgdata", "postgresql.conf"), `port = ${env.PEERS_PG_PORT}\n`, { flag: "a" })
}

const environment = async (home: string): Promise<NodeJS.ProcessEnv> => {
  const port = async () => String(await freePort())
  return {
    ...process.env,
    // One Node for all contenders: this one, which strips types.
    PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
    PEERS_HOME: home,
    PEERS_PG_PORT: await port(),
    PEERS_REDIS_PORT: await port(),
    PEERS_RESTATE_INGRESS: await port(),
    PEERS_RESTATE_ADMIN: await port(),
    PEERS_RESTATE_NODE: await port()
  }
}

/** Runs all contenders interleaved; the text of its results. */
export const run = async (plan: Plan): Promise<string> => {
  const source = sourceFolder()
  const home = process.env.PEERS_HOME ?? join(tmpdir(), "effect-saga-peers")
  await mkdir(home, { recursive: true })
  const claimed = await claim(home)
  try {
    const harness = await copied(source, home)
    const known = (await readdir(join(harness, "contenders"))).map((file) => file.replace(/\.js$/, ""))
    const unknown = plan.only.find((name) => !known.includes(name))
    if (unknown !== undefined) throw new Refused(`there is no contender ${unknown}: choose from ${known.join(", ")}`)
    const env = await environment(home)
    await script("bash", ["./services.sh", "stop"], { cwd: harness, env })
    await setUp(harness, home, env)
    const out = { results: join(home, "results.json"), report: join(home, "results.md") }
    await rm(out.results, { force: true })
    const options = {
      only: plan.only.join(","),
      rounds: String(plan.rounds),
      "off-rounds": String(plan.offRounds),
      count: plan.count,
      out: out.results,
      md: out.report
    }
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])
    const code = await script("bash", ["./run.sh", ...args], { cwd: harness, env })
    await script("bash", ["./services.sh", "stop"], { cwd: harness, env })
    if (code !== 0) throw new Refused(`the peer benchmark ended with ${code}: see its words above`)
    return await readFile(out.results, "utf8")
  } finally {
    await unlink(claimed)
  }
}
