/** A bar chart of CPU time per request as an SVG file that suits light and dark pages. */
import type { Row } from './report.ts'

const width = 860
const labelWidth = 230
const barHeight = 16
const gap = 6
const parts = ['cpu', 'postgres', 'redis'] as const
const names = { cpu: 'application', postgres: 'Postgres', redis: 'Redis' }

/** A bar that is several times as long as the others is cut, and its figure tells its length. */
const mostTimesTypical = 2.5

export function drawChart(all: Row[]): string {
  const rows = all.filter(({ scenario }) => scenario !== 'login')
  const total = (row: Row) => row.cpu + row.postgres + row.redis
  const sorted = rows.map(total).sort((a, b) => a - b)
  const typical = sorted[Math.floor(sorted.length * 0.75)] ?? 1
  const longest = Math.min(sorted.at(-1) ?? 1, typical * mostTimesTypical)
  const scale = (width - labelWidth - 60) / longest
  const lines: string[] = []
  let y = 64
  let scenario = ''
  for (const row of rows) {
    if (row.scenario !== scenario) {
      scenario = row.scenario
      y += 14
      lines.push(`<text class="head" x="10" y="${y}">${scenario}</text>`)
      y += gap
    }
    lines.push(`<text x="${labelWidth - 8}" y="${y + 12}" text-anchor="end">${row.title}</text>`)
    let x = labelWidth
    for (const part of parts) {
      const length = Math.max(0, Math.min(row[part] * scale, labelWidth + longest * scale - x))
      const place = `x="${x.toFixed(1)}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}"`
      lines.push(`<rect class="${part}" ${place}/>`)
      x += length
    }
    lines.push(`<text x="${(x + 6).toFixed(1)}" y="${y + 12}">${total(row).toFixed(2)}</text>`)
    y += barHeight + gap
  }
  const legend = parts.map(
    (part, index) =>
      `<rect class="${part}" x="${labelWidth + index * 110}" y="36" width="12" height="12"/>` +
      `<text x="${labelWidth + 18 + index * 110}" y="46">${names[part]}</text>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y + 10}" role="img">
<title>CPU time per request in ms</title>
<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head, .title { font-weight: 600; font-size: 14px }
.cpu { fill: #2f6fba } .postgres { fill: #e08a2c } .redis { fill: #c2474b }
@media (prefers-color-scheme: dark) {
  text { fill: #d8dee4 }
  .cpu { fill: #6ea8e8 } .postgres { fill: #efb06a } .redis { fill: #e07f82 }
}
</style>
<text class="title" x="10" y="22">CPU time per request in ms: less is better</text>
${[...legend, ...lines].join('\n')}
</svg>
`
}
