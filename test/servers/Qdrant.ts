/** Qdrant's own engine behind its REST interface (`qdrant/server.py`), from the folder that `install.sh` makes. */
import { existsSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"
import { freePort, type RunningServer, run } from "./Server.ts"

const home = join(
  process.env.EFFECT_SAGA_SERVERS ?? join(homedir(), ".cache", "effect-saga", "servers"),
  "qdrant-edge-0.9.0"
)

export const available = (): boolean => existsSync(join(home, ".done"))

export const start = async (): Promise<RunningServer> => {
  const port = await freePort()
  const data = await mkdtemp(join(tmpdir(), "effect-saga-qdrant-"))
  const url = `http://127.0.0.1:${port}`
  return run({
    name: "Qdrant",
    url,
    port,
    command: join(home, "bin", "python"),
    args: ["-B", new URL("./qdrant/server.py", import.meta.url).pathname, `${port}`, data],
    options: {},
    end: "SIGTERM",
    ready: async () => {
      const response = await fetch(`${url}/collections`)
      if (!response.ok) throw new Error(`${response.status}`)
    },
    cleanUp: () => rm(data, { recursive: true, force: true })
  })
}
