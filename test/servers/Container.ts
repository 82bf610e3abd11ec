/** A server from its official image, by whichever container engine there is: the same images as `compose.yaml`. */
import { spawnSync } from "node:child_process"
import { randomUUID } from "node:crypto"
import { Redis } from "ioredis"
import neo4j from "neo4j-driver"
import pg from "pg"
import { freePort, type RunningServer, run } from "./Server.ts"

export interface Image {
  readonly image: string
  readonly inner: number
  readonly environment: ReadonlyArray<string>
  readonly url: (port: number) => string
  readonly ready: (url: string) => Promise<void>
}

export const images = {
  DATABASE_URL: {
    image: "postgres:18",
    inner: 5432,
    environment: ["POSTGRES_PASSWORD=saga"],
    url: (port) => `postgres://postgres:saga@127.0.0.1:${port}/postgres`,
    ready: async (url) => {
      const client = new pg.Client(url)
      client.on("error", () => {})
      try {
        await client.connect()
        await client.query("select 1")
      } finally {
        await client.end().catch(() => {})
      }
    }
  },
  REDIS_URL: {
    image: "redis:7",
    inner: 6379,
    environment: [],
    url: (port) => `redis://127.0.0.1:${port}`,
    ready: async (url) => {
      const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null })
      client.on("error", () => {})
      try {
        await client.connect()
        await client.ping()
      } finally {
        client.disconnect()
      }
    }
  },
  NEO4J_URL: {
    image: "neo4j:5-community",
    inner: 7687,
    environment: ["NEO4J_AUTH=none"],
    url: (port) => `bolt://127.0.0.1:${port}`,
    ready: async (url) => {
      const driver = neo4j.driver(url)
      try {
        await driver.verifyConnectivity()
      } finally {
        await driver.close()
      }
    }
  },
  QDRANT_URL: {
    image: "qdrant/qdrant:v1.18.0",
    inner: 6333,
    environment: [],
    url: (port) => `http://127.0.0.1:${port}`,
    ready: async (url) => {
      const response = await fetch(`${url}/collections`)
      if (!response.ok) throw new Error(`${response.status}`)
    }
  }
} satisfies Record<string, Image>

/** "docker" or "podman", if one answers. */
export const engine = (): string | undefined =>
  ["docker", "podman"].find((name) => spawnSync(name, ["info"], { stdio: "ignore", timeout: 10_000 }).status === 0)

/** `docker run` in the foreground, so that ending it ends the container. */
export const startImage = async (command: string, name: string, one: Image): Promise<RunningServer> => {
  const port = await freePort()
  const url = one.url(port)
  const container = `effect-saga-${randomUUID()}`
  return run({
    name: `${name} (${command} ${one.image})`,
    url,
    port,
    command,
    args: [
      ...["run", "--rm", "--name", container, "-p", `127.0.0.1:${port}:${one.inner}`],
      ...one.environment.flatMap((variable) => ["-e", variable]),
      one.image
    ],
    options: {},
    end: "SIGTERM",
    ready: () => one.ready(url),
    cleanUp: async () => {
      spawnSync(command, ["rm", "-f", container], { stdio: "ignore" })
    }
  })
}
