/** A CPU profile of V8 as a flame graph, and as CPU time by layer. */
import { existsSync, readFileSync } from 'node:fs'
import { SourceMap } from 'node:module'
import { relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { root } from '../../test/support/directories.ts'

type Frame = { functionName: string; url: string; lineNumber: number; columnNumber: number }
type ProfileNode = { id: number; callFrame: Frame; children?: number[] }
export type Profile = { nodes: ProfileNode[]; samples: number[]; timeDeltas: number[] }

const maps = new Map<string, SourceMap | null>()

/** The file of the project, or the package, behind a place in a bundle. */
function sourceOf({ url, lineNumber, columnNumber }: Frame): string {
  if (!url.startsWith('file:')) return url
  const path = fileURLToPath(url)
  if (!maps.has(url)) {
    const file = `${path}.map`
    maps.set(url, existsSync(file) ? new SourceMap(JSON.parse(readFileSync(file, 'utf8'))) : null)
  }
  const entry = maps.get(url)?.findEntry(lineNumber, columnNumber)
  if (!entry || !('originalSource' in entry)) return relative(root, path)
  return relative(root, fileURLToPath(new URL(entry.originalSource, pathToFileURL(path))))
}

/**
 * A layer: a folder of `src`, a package, a module of Node, or the engine. V8's built-in functions belong to
 * the layer that calls them.
 */
function layerOf({ functionName }: Frame, source: string, caller: string): string {
  if (functionName === '(garbage collector)') return 'garbage collection'
  if (functionName === '(program)') return 'native code outside JavaScript'
  if (source === '' && /^write/.test(functionName)) return 'writing to sockets and the log'
  if (source === '') return caller
  const [, name] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(source) ?? []
  if (name) return name
  if (/^node:(_http|internal\/http)/.test(source)) return 'node:http'
  if (/^node:(net|internal\/(streams|stream_base))/.test(source)) return 'node:net and streams'
  if (source.startsWith('node:')) return source.replace('internal/', '').split('/', 1).join()
  return source
    .split('/')
    .slice(0, source.startsWith('src/runtime/') ? 3 : 2)
    .join('/')
}

type Flame = { name: string; source: string; total: number; children: Map<string, Flame> }

export function readProfile({ nodes, samples, timeDeltas }: Profile) {
  const self = new Map<number, number>()
  for (const [index, id] of samples.entries()) self.set(id, (self.get(id) ?? 0) + (timeDeltas[index] ?? 0))
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const layers = new Map<string, number>()
  /** Recursion of one function in another place stays apart: frames are merged under one parent only. */
  function add(flame: Flame, { id, callFrame, children = [] }: ProfileNode, caller: string): number {
    if (callFrame.functionName === '(idle)') return 0
    const source = sourceOf(callFrame)
    const name = callFrame.functionName || '(anonymous)'
    const own = self.get(id) ?? 0
    const layer = layerOf(callFrame, source, caller)
    layers.set(layer, (layers.get(layer) ?? 0) + own)
    const key = `${name} ${source}`
    const child = flame.children.get(key) ?? { name, source, total: 0, children: new Map() }
    flame.children.set(key, child)
    const below = children.flatMap((next) => byId.get(next) ?? []).map((next) => add(child, next, layer))
    const total = below.reduce((sum, time) => sum + time, own)
    child.total += total
    return total
  }
  const top: Flame = { name: 'all', source: '', total: 0, children: new Map() }
  const [first] = nodes
  if (first) top.total = add(top, first, 'V8')
  return { top: top.children.values().next().value ?? top, layers }
}

const escapeXml = (text: string) => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)

/** Frames under a thousandth of the whole are left out. A title shows what a frame's width cannot. */
export function drawFlameGraph(top: Flame, subject: string): string {
  const title = `${subject}: blue is this project, green are packages, orange is Node`
  const width = 1400
  const height = 17
  const boxes: string[] = []
  let deepest = 0
  function draw({ name, source, total, children }: Flame, x: number, depth: number) {
    const boxWidth = (total / top.total) * width
    if (boxWidth < width / 1000) return
    deepest = Math.max(deepest, depth)
    const share = `${((total / top.total) * 100).toFixed(1)} %`
    const hue = source.startsWith('src/') ? 210 : source.includes('node_modules') ? 130 : 35
    const label = boxWidth > 40 ? escapeXml(name.slice(0, Math.floor(boxWidth / 7))) : ''
    const y = 30 + depth * height
    const box = `x="${x.toFixed(1)}" y="${y}" width="${boxWidth.toFixed(1)}" height="${height - 1}"`
    boxes.push(
      `<g><title>${escapeXml(`${name}, ${share}, ${source}`)}</title>`,
      `<rect ${box} fill="hsl(${hue} 60% ${70 + (depth % 3) * 5}%)"/>`,
      `<text x="${(x + 3).toFixed(1)}" y="${y + 12}">${label}</text></g>`,
    )
    let left = x
    for (const child of [...children.values()].sort((a, b) => b.total - a.total)) {
      draw(child, left, depth + 1)
      left += (child.total / top.total) * width
    }
  }
  draw(top, 0, 0)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${40 + (deepest + 1) * height}">
<style>text { font: 11px monospace; fill: #111 } .title { font: 14px sans-serif }</style>
<rect width="100%" height="100%" fill="#fff"/>
<text class="title" x="8" y="20">${escapeXml(title)}</text>
${boxes.join('\n')}
</svg>
`
}

/** @param cpuMs CPU time per request, which is distributed by the samples */
export function layersTable(layers: Map<string, number>, cpuMs: number): string {
  const total = [...layers.values()].reduce((sum, time) => sum + time, 0)
  const shares = [...layers].map(([layer, time]) => ({ layer, share: time / total }))
  return [
    '| layer | share | CPU µs per request |',
    '|---|---:|---:|',
    ...shares
      .filter(({ share }) => share >= 0.005)
      .sort((a, b) => b.share - a.share)
      .map(
        ({ layer, share }) =>
          `| ${layer} | ${(share * 100).toFixed(1)} % | ${(share * cpuMs * 1000).toFixed(1)} |`,
      ),
  ].join('\n')
}
