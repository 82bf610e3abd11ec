/** Debian's redis-server, without persistence. */
import { spawnSync } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Redis } from "ioredis"
import { freePort, type RunningServer, run } from "./Server.ts"

export const available = (): boolean => spawnSync("redis-server", ["--version"]).status === 0

export const start = async (): Promise<RunningServer> => {
  const port = await freePort()
  const dir = await mkdtemp(join(tmpdir(), "effect-saga-redis-"))
  return run({
    name: "Redis",
    url: `redis://127.0.0.1:${port}`,
    port,
    command: "redis-server",
    args: ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no"],
    options: {},
    end: "SIGTERM",
    ready: async () => {
      const client = new Redis(port, "127.0.0.1", { lazyConnect: true, retryStrategy: () => null })
      client.on("error", () => {})
      try {
        await client.connect()
        await client.ping()
      } finally {
        client.disconnect()
      }
    },
    cleanUp: () => rm(dir, { recursive: true, force: true })
  })
}
