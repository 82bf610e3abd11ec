/** A CPU profile as a flame graph in SVG: width is time, depth is who called whom, the root at the bottom. */
import type { Profiler } from "node:inspector/promises"

interface Frame {
  readonly name: string
  readonly group: Group
  micros: number
  readonly children: Map<string, Frame>
}

type Group = "ours" | "effect" | "driver" | "node"
const colours: Record<Group, string> = { ours: "#e4572e", effect: "#f3a712", driver: "#669bbc", node: "#9a9a9a" }
const ROW = 16
const WIDTH = 1200
/** Narrower than this in pixels nothing can be read or seen. */
const NARROWEST = 0.6

const groupOf = (url: string): Group => {
  if (url.includes("/node_modules/effect/") || url.includes("/node_modules/@effect/")) return "effect"
  if (url.includes("/node_modules/")) return "driver"
  return url.startsWith("file:") ? "ours" : "node"
}

/** The interpreter of effects calls itself at every depth; what it is about is what it runs. */
const isPlumbing = (name: string, url: string) =>
  groupOf(url) === "effect" && /^(runLoop|evaluate|getCont|succeedWith|runTasks|afterScheduled|)$/.test(name)

const frame = (name: string, group: Group): Frame => ({ name, group, micros: 0, children: new Map() })

/** The time of each sample, under the calls that led to it, outermost first. */
const fold = ({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): Frame => {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const parents = new Map(nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id] as const)))
  const root = frame("all", "node")
  const stacks = new Map<number, ReadonlyArray<Frame>>()
  const stackOf = (id: number): ReadonlyArray<Frame> => {
    const known = stacks.get(id)
    if (known !== undefined) return known
    const parent = parents.get(id)
    const above = parent === undefined ? [root] : stackOf(parent)
    const call = byId.get(id)?.callFrame
    const name = call?.functionName ?? ""
    const url = call?.url ?? ""
    const stack =
      call === undefined || name === "(root)" || isPlumbing(name, url) ? above : [...above, within(above, call)]
    stacks.set(id, stack)
    return stack
  }
  samples.forEach((id, index) => {
    if (byId.get(id)?.callFrame.functionName === "(idle)") return
    for (const one of stackOf(id)) one.micros += timeDeltas[index] ?? 0
  })
  return root
}

const within = (
  above: ReadonlyArray<Frame>,
  { functionName, lineNumber, url }: Profiler.Profile["nodes"][number]["callFrame"]
) => {
  const file = url.split("/").at(-1) ?? ""
  const name =
    functionName === "" ? `${file}:${lineNumber + 1}` : file === "" ? functionName : `${functionName} ${file}`
  const parent = above.at(-1)
  const known = parent?.children.get(name)
  if (known !== undefined) return known
  const made = frame(name, groupOf(url))
  parent?.children.set(name, made)
  return made
}

const depthOf = ({ children }: Frame): number => 1 + Math.max(0, ...[...children.values()].map(depthOf))
const escape = (text: string) => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)

/** `title` stands above it; hovering shows each call's share. */
export const flameGraph = (profile: Profiler.Profile, title: string): string => {
  const root = fold(profile)
  const deepest = depthOf(root)
  const height = (deepest + 3) * ROW
  const boxes: Array<string> = []
  const draw = (one: Frame, x: number, depth: number) => {
    const width = (one.micros / root.micros) * WIDTH
    if (width < NARROWEST) return
    const y = height - (depth + 1) * ROW
    const label = escape(one.name)
    const letters = Math.floor((width - 4) / 6.2)
    boxes.push(
      `<g><title>${label}: ${((one.micros / root.micros) * 100).toFixed(1)} %</title>` +
        `<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${ROW - 1}" fill="${colours[one.group]}" rx="1"/>` +
        (letters < 3
          ? ""
          : `<text x="${(x + 3).toFixed(1)}" y="${y + 11}">${escape(one.name.slice(0, letters))}</text>`) +
        `</g>`
    )
    let at = x
    for (const child of [...one.children.values()].sort((a, b) => b.micros - a.micros)) {
      draw(child, at, depth + 1)
      at += (child.micros / root.micros) * WIDTH
    }
  }
  draw(root, 0, 0)
  const legend = Object.entries(colours)
    .map(([name, colour], index) => `<tspan dx="${index === 0 ? 0 : 12}" fill="${colour}">■ ${name}</tspan>`)
    .join("")
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="monospace" font-size="10">`,
    `<title>${escape(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    `<text x="4" y="14" font-size="13" font-weight="bold">${escape(title)}</text>`,
    `<text x="4" y="30" font-size="11">${legend}</text>`,
    ...boxes,
    "</svg>",
    ""
  ].join("\n")
}
