/**
 * Where the tests get their real servers: those named by the environment, else official images if there is a container
 * engine, else their own. It says which.
 */
import { execFileSync } from "node:child_process"
import type { TestProject } from "vitest/node"
import { engine, images, startImage } from "./Container.ts"
import * as Neo4j from "./Neo4j.ts"
import * as Postgres from "./Postgres.ts"
import * as Qdrant from "./Qdrant.ts"
import * as Redis from "./Redis.ts"
import type { RunningServer } from "./Server.ts"

export interface ServerUrls {
  readonly postgres: string | null
  readonly redis: string | null
  readonly neo4j: string | null
  readonly qdrant: string | null
}

declare module "vitest" {
  interface ProvidedContext {
    servers: ServerUrls
  }
}

const started: Array<RunningServer> = []

interface Source {
  readonly name: string
  readonly variable: keyof typeof images
  readonly available: () => boolean
  readonly install?: () => void
  readonly start: () => Promise<RunningServer>
  readonly remedy: string
}

const containers = engine()

const startOne = async (source: Source): Promise<RunningServer> => {
  if (containers !== undefined) {
    try {
      return await startImage(containers, source.name, images[source.variable])
    } catch (cause) {
      console.error(`${source.name}: ${containers} could not start it (${cause}); starting its own`)
    }
  }
  if (!source.available()) source.install?.()
  return source.start()
}

const obtain = async (source: Source): Promise<string | null> => {
  const named = process.env[source.variable]
  if (named !== undefined && named !== "") {
    console.log(`${source.name}: the one named by ${source.variable}`)
    return named
  }
  const since = Date.now()
  try {
    const server = await startOne(source)
    started.push(server)
    console.log(`${server.name}: started on port ${server.port} in ${Date.now() - since} ms`)
    return server.url
  } catch (cause) {
    const sentence = `${source.name} CANNOT BE HAD, its tests are skipped: ${source.remedy} (${cause})`
    if (process.env.CI === "true") throw new Error(sentence, { cause })
    console.error(sentence)
    return null
  }
}

/** One that cannot be had must not leave the others running. */
const allOrNone = async <A>(sources: ReadonlyArray<Promise<A>>): Promise<ReadonlyArray<A>> => {
  await Promise.allSettled(sources)
  try {
    return await Promise.all(sources)
  } catch (cause) {
    await teardown()
    throw cause
  }
}

const install = () => execFileSync("sh", [new URL("./install.sh", import.meta.url).pathname], { stdio: "inherit" })

export const setup = async (project: TestProject) => {
  const [postgres = null, redis = null, neo4j = null, qdrant = null] = await allOrNone([
    obtain({
      name: "PostgreSQL",
      variable: "DATABASE_URL",
      ...Postgres,
      remedy: "run npm ci on Linux x64, or set DATABASE_URL"
    }),
    obtain({
      name: "Redis",
      variable: "REDIS_URL",
      ...Redis,
      install,
      remedy: "install redis-server, or set REDIS_URL"
    }),
    obtain({
      name: "Neo4j",
      variable: "NEO4J_URL",
      ...Neo4j,
      install,
      remedy: "install Java 17 and Maven and run test/servers/install.sh, or set NEO4J_URL"
    }),
    obtain({
      name: "Qdrant",
      variable: "QDRANT_URL",
      ...Qdrant,
      install,
      remedy: "install Python 3.10 with venv and run test/servers/install.sh, or set QDRANT_URL"
    })
  ])
  project.provide("servers", { postgres, redis, neo4j, qdrant })
}

export const teardown = async () => {
  await Promise.all(started.map((server) => server.stop()))
}
