/** Charts in SVG: what something costs as a function of its size, and beside others. */

export interface Series {
  readonly name: string
  readonly points: ReadonlyArray<readonly [x: number, y: number]>
}

export interface Chart {
  readonly title: string
  /** With their units. */
  readonly x: string
  readonly y: string
  readonly series: ReadonlyArray<Series>
}

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [640, 360, 70, 50, 40, 170]
const COLOURS = ["#e4572e", "#2e86ab", "#57a773", "#9b5de5", "#f3a712"]

const escape = (text: string) => text.replace(/[&<>]/g, (char) => `&#${char.charCodeAt(0)};`)
const short = (value: number) =>
  value >= 1e6 ? `${value / 1e6}M` : value >= 1000 ? `${value / 1000}k` : `${Number(value.toPrecision(3))}`

/** About five round steps from zero to the highest. */
const ticksTo = (highest: number): ReadonlyArray<number> => {
  const rough = highest / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power
  return Array.from({ length: Math.floor(highest / step) + 1 }, (_, i) => i * step)
}

/** Sizes are on a logarithmic axis, one tick a size; costs on a linear one that begins at zero. */
export const plot = ({ series, title, x, y }: Chart): string => {
  const sizes = [...new Set(series.flatMap(({ points }) => points.map(([size]) => size)))].sort((a, b) => a - b)
  const highest = Math.max(...series.flatMap(({ points }) => points.map(([, cost]) => cost)), 1e-9) * 1.1
  // Zero has no logarithm: it stands one tick before the first size.
  const positive = sizes.filter((size) => size > 0)
  const [low, high] = [Math.log(positive[0] ?? 1), Math.log(positive.at(-1) ?? 10)]
  const gap = sizes.includes(0) ? 0.15 : 0
  const across = (size: number) =>
    LEFT +
    (WIDTH - LEFT - RIGHT) *
      (size === 0 ? 0 : gap + (1 - gap) * (high === low ? 0.5 : (Math.log(size) - low) / (high - low)))
  const up = (cost: number) => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (cost / highest)
  const lines = series.flatMap(({ name, points }, i) => {
    const colour = COLOURS[i % COLOURS.length]
    const path = points.map(([size, cost]) => `${across(size).toFixed(1)},${up(cost).toFixed(1)}`)
    return [
      `<polyline points="${path.join(" ")}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      ...path.map((at) => `<circle cx="${at.split(",")[0]}" cy="${at.split(",")[1]}" r="3" fill="${colour}"/>`),
      `<text x="${WIDTH - RIGHT + 14}" y="${TOP + 14 + i * 18}" fill="${colour}">${escape(name)}</text>`
    ]
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<title>${escape(title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    `<text x="${LEFT}" y="22" font-size="15" font-weight="bold">${escape(title)}</text>`,
    ...ticksTo(highest).flatMap((tick) => [
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${up(tick)}" y2="${up(tick)}" stroke="#dddddd"/>`,
      `<text x="${LEFT - 6}" y="${up(tick) + 4}" text-anchor="end">${short(tick)}</text>`
    ]),
    ...sizes.map(
      (size) => `<text x="${across(size)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${short(size)}</text>`
    ),
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 10}" text-anchor="middle">${escape(x)}</text>`,
    `<text transform="translate(16 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${escape(y)}</text>`,
    ...lines,
    "</svg>",
    ""
  ].join("\n")
}

export interface BarGroup {
  readonly name: string
  readonly bars: ReadonlyArray<{ readonly name: string; readonly value: number; readonly label: string }>
}

const [ROW, NAMES, LABELS] = [22, 190, 150]

/** Lying bars, one group below the other; each group has a scale of its own that begins at zero. */
export const bars = (chart: { readonly title: string; readonly groups: ReadonlyArray<BarGroup> }): string => {
  const lines: Array<string> = []
  let y = TOP + 6
  for (const [i, group] of chart.groups.entries()) {
    const highest = Math.max(...group.bars.map(({ value }) => value), 1e-9)
    lines.push(`<text x="16" y="${y + 14}" font-weight="bold">${escape(group.name)}</text>`)
    y += ROW
    for (const { label, name, value } of group.bars) {
      const width = ((WIDTH - NAMES - LABELS) * value) / highest
      lines.push(
        `<text x="${NAMES - 8}" y="${y + 14}" text-anchor="end">${escape(name)}</text>`,
        `<rect x="${NAMES}" y="${y + 2}" width="${width.toFixed(1)}" height="${ROW - 6}" fill="${COLOURS[i % COLOURS.length]}"/>`,
        `<text x="${(NAMES + width + 6).toFixed(1)}" y="${y + 14}">${escape(label)}</text>`
      )
      y += ROW
    }
    y += ROW / 2
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" font-family="sans-serif" font-size="12">`,
    `<title>${escape(chart.title)}</title>`,
    `<rect width="${WIDTH}" height="${y}" fill="#ffffff"/>`,
    `<text x="16" y="22" font-size="15" font-weight="bold">${escape(chart.title)}</text>`,
    ...lines,
    "</svg>",
    ""
  ].join("\n")
}
