/** A server as seen through a network that may stall: connections stay open, and nothing passes. */
import { connect, createServer, type Socket } from "node:net"
import { freePort } from "./Server.ts"

export interface Valve {
  readonly port: number
  readonly shut: () => void
  readonly open: () => void
  readonly stop: () => Promise<void>
}

export const start = async (target: number): Promise<Valve> => {
  const port = await freePort()
  const sockets = new Set<Socket>()
  let isShut = false
  const server = createServer((near) => {
    const far = connect(target, "127.0.0.1")
    for (const [one, other] of [
      [near, far],
      [far, near]
    ] as const) {
      sockets.add(one)
      if (isShut) one.pause()
      one.on("data", (chunk) => other.write(chunk))
      one.on("error", () => {})
      one.on("close", () => {
        sockets.delete(one)
        other.destroy()
      })
      if (isShut) one.pause()
    }
  })
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve))
  return {
    port,
    shut: () => {
      isShut = true
      for (const socket of sockets) socket.pause()
    },
    open: () => {
      isShut = false
      for (const socket of sockets) socket.resume()
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}
