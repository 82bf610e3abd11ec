/**
 * Dead letters in files, one each, written once: to another name first, flushed to disk, then renamed, so none is ever
 * torn or half there, and one that is added twice is one file. Many processes may share the folder, and any of them
 * drains it. What a process that died was still writing (`.part`) was never acknowledged, and is removed after a day.
 */
import { mkdir, open, readdir, readFile, rename, stat, unlink } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { Clock, Effect } from "effect"
import { Ids } from "../../services/Ids.ts"
import type { DeadLetterSpool } from "./DeadLetterSpool.ts"

/** Files that are open at once: a process may have few. */
const AT_ONCE = 16
const DAY = 24 * 60 * 60 * 1000

const codeOf = (cause: unknown): unknown =>
  typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined

/** What somebody else removed already is removed. */
const unlessMissing = async <A>(work: Promise<A>, otherwise: A): Promise<A> => {
  try {
    return await work
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return otherwise
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

/** A new folder is safe only when the one above it is flushed. */
const make = async (folder: string): Promise<void> => {
  const highest = await mkdir(folder, { recursive: true })
  if (highest === undefined) return
  const last = dirname(resolve(highest))
  for (let made = resolve(folder); made !== last; made = dirname(made)) await flush(dirname(made))
}

const write = async (folder: string, id: string, json: string, unique: string): Promise<void> => {
  await make(folder)
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

/** Too many open files say nothing about this one. */
const passing = new Set<unknown>(["EMFILE", "ENFILE", "EAGAIN", "ENOMEM"])

/** `gone`: somebody drained it meanwhile. */
const read = async (path: string): Promise<{ readonly json: string | undefined } | "gone"> => {
  try {
    return { json: await readFile(path, "utf8") }
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return "gone"
    if (passing.has(codeOf(cause))) throw cause
    return { json: undefined }
  }
}

const removeUnfinished = async (path: string, now: number): Promise<void> => {
  const found = await unlessMissing(stat(path), undefined)
  if (found !== undefined && now - found.mtimeMs > DAY) await unlessMissing(unlink(path), undefined)
}

/** The folder is made when it is first needed. */
export const makeFileSpool = (folder: string): DeadLetterSpool => ({
  name: `the folder ${folder}`,
  put: (id, json) =>
    Effect.flatMap(Effect.flatten(Effect.map(Ids, ({ next }) => next)), (unique) =>
      Effect.tryPromise(() => write(folder, id, json, unique))
    ),
  waiting: Effect.fnUntraced(function* (limit) {
    const now = yield* Clock.currentTimeMillis
    const files = yield* Effect.tryPromise(() => unlessMissing(readdir(folder), []))
    const parts = files.filter((file) => file.endsWith(".part"))
    yield* Effect.ignore(
      Effect.forEach(parts, (file) => Effect.tryPromise(() => removeUnfinished(join(folder, file), now)))
    )
    const letters = files.filter((file) => file.endsWith(".json")).slice(0, limit)
    const found = yield* Effect.forEach(
      letters,
      Effect.fnUntraced(function* (file) {
        const path = join(folder, file)
        const content = yield* Effect.tryPromise(() => read(path))
        if (content === "gone") return []
        return [
          {
            id: file.slice(0, -".json".length),
            json: content.json,
            remove: Effect.tryPromise(() => unlessMissing(unlink(path), undefined)),
            setAside: Effect.tryPromise(() => unlessMissing(rename(path, `${path}.unreadable`), undefined))
          }
        ]
      }),
      { concurrency: AT_ONCE }
    )
    return found.flat()
  })
})
