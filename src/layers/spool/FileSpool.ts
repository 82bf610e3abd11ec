/**
 * Dead letters in files, one each, written once: to another name first, flushed to disk, then renamed, so none is ever
 * torn or half there. Many processes may share the folder, and any of them drains it.
 */
import { mkdir, open, readdir, readFile, rename, unlink } from "node:fs/promises"
import { join } from "node:path"
import { Effect } from "effect"
import { Ids } from "../../services/Ids.ts"
import type { DeadLetterSpool } from "./DeadLetterSpool.ts"

const BATCH = 1000

const isMissing = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && "code" in cause && cause.code === "ENOENT"

/** What somebody else removed already is removed. */
const unlessMissing = async <A>(work: Promise<A>, otherwise: A): Promise<A> => {
  try {
    return await work
  } catch (cause) {
    if (isMissing(cause)) return otherwise
    throw cause
  }
}

const flush = async (path: string): Promise<void> => {
  const handle = await open(path, "r")
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const write = async (folder: string, id: string, json: string, unique: string): Promise<void> => {
  await mkdir(folder, { recursive: true })
  const unfinished = join(folder, `${id}.${unique}.part`)
  const handle = await open(unfinished, "wx", 0o600)
  try {
    await handle.writeFile(json)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(unfinished, join(folder, `${id}.json`))
  // The new name is safe only when the folder is.
  await flush(folder)
}

/** The folder is made when it is first needed. */
export const makeFileSpool = (folder: string): DeadLetterSpool => ({
  name: `the folder ${folder}`,
  put: (id, json) =>
    Effect.flatMap(Effect.flatten(Effect.map(Ids, ({ next }) => next)), (unique) =>
      Effect.tryPromise(() => write(folder, id, json, unique))
    ),
  waiting: Effect.tryPromise(async () => {
    const files = (await unlessMissing(readdir(folder), [])).filter((file) => file.endsWith(".json")).slice(0, BATCH)
    const found = await Promise.all(
      files.map(async (file) => {
        const path = join(folder, file)
        const json = await unlessMissing<string | undefined>(readFile(path, "utf8"), undefined)
        if (json === undefined) return []
        return [
          {
            id: file.slice(0, -".json".length),
            json,
            remove: Effect.tryPromise(() => unlessMissing(unlink(path), undefined)),
            setAside: Effect.tryPromise(() => unlessMissing(rename(path, `${path}.unreadable`), undefined))
          }
        ]
      })
    )
    return found.flat()
  })
})
