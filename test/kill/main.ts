/**
 * `npm run kill-test`: two processes ingest, update and remove 500 documents on real servers, and are killed 200 times
 * between a first write and its commit. Then every document must be whole or absent in every store, as its last
 * acknowledged request left it. `-- --kills N --json` ends with one JSON object; exit 1 if anything is unexplained.
 */
import { execFileSync } from "node:child_process"
import { randomInt, randomUUID } from "node:crypto"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import pg from "pg"
import * as Neo4j from "../servers/Neo4j.ts"
import * as Postgres from "../servers/Postgres.ts"
import * as Qdrant from "../servers/Qdrant.ts"
import * as Redis from "../servers/Redis.ts"
import { makeFleet, type Worker } from "./Fleet.ts"
import { endedAt, explained, readBack } from "./Stores.ts"

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "200" },
    documents: { type: "string", default: "500" },
    json: { type: "boolean", default: false }
  }
})
const KILLS = Number(values.kills)
const DOCUMENTS = Number(values.documents)
const IN_FLIGHT = 4

const sleep = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))
const say = (line: string) => console.error(line)

/** What a document may be: as the last acknowledged request left it, or as one of those after it whose fate is unknown. */
interface Subject {
  readonly uuid: string
  readonly possible: Set<string | null>
  busy: boolean
}

if (![Postgres, Redis, Neo4j, Qdrant].every((server) => server.available())) {
  say("installing what the servers need")
  execFileSync("sh", [new URL("../servers/install.sh", import.meta.url).pathname], { stdio: "inherit" })
}
say("starting PostgreSQL, Redis, Neo4j and Qdrant")
const running = await Promise.all([Postgres.start(), Redis.start(), Neo4j.start(), Qdrant.start()])
const [postgres, redis, neo4j, qdrant] = running
const servers = { postgres: postgres.url, redis: redis.url, neo4j: neo4j.url, qdrant: qdrant.url }
const spool = await mkdtemp(join(tmpdir(), "effect-saga-kill-"))
const fleet = makeFleet(servers, spool, 3)

const subjects = Array.from(
  { length: DOCUMENTS },
  (): Subject => ({
    uuid: randomUUID(),
    possible: new Set([null]),
    busy: false
  })
)
const lost: Array<{ readonly uuid: string; readonly sent: number; readonly died: number }> = []
const counts = { acknowledged: 0, failed: 0, unknown: 0 }
const failures = new Map<string, number>()
let kills = 0
let nextId = 0
let stopping = false

const nextSubject = (): Subject => {
  while (true) {
    const subject = subjects[randomInt(DOCUMENTS)]
    if (subject !== undefined && !subject.busy) return subject
  }
}

/** Keeps a worker busy until it dies or the test stops. */
const drive = async (worker: Worker): Promise<void> => {
  const waiting = new Map<number, (failure: string | null, unknown: boolean) => void>()
  worker.onMessage = (message) => {
    if (message.kind === "done") waiting.get(message.id)?.(message.failure, message.unknown)
  }
  let alive = true
  const death = worker.died.then((at) => {
    alive = false
    for (const end of waiting.values()) end("killed", true)
    return at
  })
  const client = async () => {
    while (alive && !stopping) {
      const subject = nextSubject()
      subject.busy = true
      const id = nextId++
      const title = subject.possible.has(null) || Math.random() < 0.75 ? `${subject.uuid} ${id}` : null
      const sent = Date.now()
      const [failure, unknown] = await new Promise<[string | null, boolean]>((resolve) => {
        waiting.set(id, (...end) => resolve(end))
        worker.send({ kind: "request", id, uuid: subject.uuid, title })
      })
      waiting.delete(id)
      if (failure === null) {
        counts.acknowledged++
        subject.possible.clear()
        subject.possible.add(title)
      } else if (unknown) {
        counts.unknown++
        subject.possible.add(title)
        if (failure === "killed") lost.push({ uuid: subject.uuid, sent, died: await death })
      } else counts.failed++
      if (failure !== null) failures.set(failure, (failures.get(failure) ?? 0) + 1)
      subject.busy = false
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, client))
}

const bar = () => {
  const line = `${kills} of ${KILLS} kills, ${counts.acknowledged} acknowledged, ${counts.unknown} unknown`
  if (process.stderr.isTTY)
    process.stderr.write(`\r${"#".repeat(Math.round((kills / KILLS) * 30)).padEnd(30, ".")} ${line}`)
  else if (kills % 20 === 0) say(line)
}

/** A worker at its place, and its successors. */
const place = async () => {
  while (!stopping) {
    const worker = await fleet.take()
    const driven = drive(worker)
    await sleep(randomInt(2000, 4000))
    if (kills < KILLS) {
      worker.send({ kind: "arm", events: randomInt(0, 40) })
      await worker.died
      if (kills < KILLS) kills++
      bar()
    }
    if (kills >= KILLS) {
      // The load goes on a little after the last kill.
      await sleep(1000)
      stopping = true
    }
    await driven
  }
}

let exitCode = 1
try {
  await Promise.all([place(), place()])
  say("\nwaiting for recovery")
  const settled = Date.now() + 60_000
  let left = await explained(servers.postgres)
  while ((left.unfinished > 0 || left.letters.length > 0) && Date.now() < settled) {
    await sleep(250)
    left = await explained(servers.postgres)
  }
  const found = await readBack(
    servers,
    subjects.map(({ uuid }) => uuid)
  )
  let unexplained = 0
  for (const { possible, uuid } of subjects) {
    const { neo4j, postgres, qdrant, redis } = found.get(uuid) ?? { neo4j: "?", postgres: "?", qdrant: "?", redis: "?" }
    const whole = postgres === neo4j && postgres === qdrant && (redis === null || redis === postgres)
    if ((whole && possible.has(postgres)) || left.letters.includes(uuid)) continue
    unexplained++
    say(
      `unexplained ${uuid}: ${JSON.stringify({ neo4j, postgres, qdrant, redis })}, possible ${JSON.stringify([...possible])}`
    )
  }
  const client = new pg.Client(servers.postgres)
  await client.connect()
  const times: Array<number> = []
  for (const { died, sent, uuid } of lost) {
    const ended = await endedAt(client, uuid, sent - 5, died)
    if (ended !== undefined && ended > died) times.push(Math.round(ended - died))
  }
  await client.end()
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0
  say(`${times.length} sagas were left and recovered: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms after the kill`)
  say(`${counts.acknowledged} acknowledged, ${counts.unknown} unknown, failed: ${JSON.stringify([...failures])}`)
  say(
    `${left.letters.length} open dead letters, ${left.unfinished} unfinished sagas, ${unexplained} unexplained documents`
  )
  const ok = unexplained === 0 && left.letters.length === 0 && left.unfinished === 0 && kills === KILLS
  if (values.json) {
    console.log(
      JSON.stringify({ kills, documents: DOCUMENTS, unexplained, recoveryMs: { p50: at(0.5), p99: at(0.99) } })
    )
  }
  exitCode = ok ? 0 : 1
} finally {
  fleet.end()
  await Promise.all(running.map((server) => server.stop()))
  await rm(spool, { recursive: true, force: true })
}
process.exit(exitCode)
