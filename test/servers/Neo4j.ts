/** The real server from its own jars, which `install.sh` fetches with Maven; runs on Java 17 or 21. */
import { existsSync } from "node:fs"
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"
import neo4j from "neo4j-driver"
import { freePort, type RunningServer, run } from "./Server.ts"

const lib = join(
  process.env.EFFECT_SAGA_SERVERS ?? join(homedir(), ".cache", "effect-saga", "servers"),
  "neo4j-5.26.0",
  "lib"
)

export const available = (): boolean => existsSync(lib)

const java = () =>
  ["/usr/lib/jvm/java-17-openjdk-amd64/bin/java", join(process.env.JAVA_HOME ?? "", "bin", "java")].find(existsSync) ??
  "java"

export const start = async (): Promise<RunningServer> => {
  const port = await freePort()
  const home = await mkdtemp(join(tmpdir(), "effect-saga-neo4j-"))
  await mkdir(join(home, "conf"))
  await writeFile(
    join(home, "conf", "neo4j.conf"),
    [
      `server.bolt.listen_address=127.0.0.1:${port}`,
      "server.http.enabled=false",
      "server.https.enabled=false",
      "dbms.security.auth_enabled=false",
      "server.memory.pagecache.size=64m",
      "dbms.usage_report.enabled=false"
    ].join("\n")
  )
  const url = `bolt://127.0.0.1:${port}`
  const opens = ["java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch"]
  return run({
    name: "Neo4j",
    url,
    port,
    command: java(),
    args: [
      "-Xmx512m",
      ...opens.map((module) => `--add-opens=${module}=ALL-UNNAMED`),
      ...["-cp", join(lib, "*"), "org.neo4j.server.CommunityEntryPoint"],
      ...[`--home-dir=${home}`, `--config-dir=${join(home, "conf")}`]
    ],
    options: {},
    end: "SIGTERM",
    ready: async () => {
      const driver = neo4j.driver(url)
      try {
        await driver.verifyConnectivity()
      } finally {
        await driver.close()
      }
    },
    cleanUp: () => rm(home, { recursive: true, force: true })
  })
}
