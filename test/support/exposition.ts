/**
 * Reads Prometheus's text format as strictly as its documentation has it, and more so:
 * https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
 */

export type Sample = { name: string; labels: Record<string, string>; value: number }
export type Exposition = { samples: Sample[]; types: Map<string, string> }

const sampleForm = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/
const labelForm = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y

/** @throws Error that names the line which is none, or the series that cannot be */
export function readExposition(text: string): Exposition {
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  const samples: Sample[] = []
  const types = new Map<string, string>()
  const seen = new Set<string>()
  let family = ''
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue
    if (line.startsWith('# TYPE ')) {
      const [, , name = '', type = ''] = line.split(' ')
      if (types.has(name)) throw new Error(`a second family ${name}`)
      types.set(name, type)
      family = name
      continue
    }
    const sample = readSample(line)
    if (!belongs(sample.name, family, types.get(family))) throw new Error(`in the family ${family}: ${line}`)
    const series = JSON.stringify([sample.name, Object.entries(sample.labels).sort()])
    if (seen.has(series)) throw new Error(`a second sample of ${series}`)
    seen.add(series)
    samples.push(sample)
  }
  for (const [name, type] of types) {
    if (type === 'counter' && !name.endsWith('_total')) throw new Error(`a counter called ${name}`)
    if (type === 'histogram') checkHistogram(name, samples)
  }
  return { samples, types }
}

function readSample(line: string): Sample {
  const [, name, inner = '', number = ''] = sampleForm.exec(line) ?? []
  const value = number === '+Inf' ? Number.POSITIVE_INFINITY : Number(number)
  if (!name || Number.isNaN(value)) throw new Error(`no sample: ${line}`)
  const labels: Record<string, string> = {}
  labelForm.lastIndex = 0
  let read = 0
  while (read < inner.length) {
    const [whole, label = '', text = ''] = labelForm.exec(inner) ?? []
    if (!whole || label in labels) throw new Error(`no labels: ${line}`)
    labels[label] = text
    read += whole.length
  }
  return { name, labels, value }
}

function belongs(name: string, family: string, type: string | undefined): boolean {
  if (type !== 'histogram') return name === family
  return [`${family}_bucket`, `${family}_sum`, `${family}_count`].includes(name)
}

/** Of each series: buckets that rise, an infinite one, and a count that is the same. */
function checkHistogram(family: string, samples: Sample[]) {
  const seriesOf = ({ labels: { le: _, ...labels } }: Sample) => JSON.stringify(Object.entries(labels).sort())
  for (const count of samples.filter(({ name }) => name === `${family}_count`)) {
    const buckets = samples.filter(
      (sample) => sample.name === `${family}_bucket` && seriesOf(sample) === seriesOf(count),
    )
    const edges = buckets.map(({ labels }) => Number(labels.le?.replace('+Inf', 'Infinity')))
    const rises = (list: number[]) => list.every((value, i) => i === 0 || value >= (list[i - 1] ?? value))
    const infinite = buckets.find(({ labels }) => labels.le === '+Inf')
    if (!rises(edges) || !rises(buckets.map(({ value }) => value)) || infinite?.value !== count.value)
      throw new Error(`no histogram: ${family} ${seriesOf(count)}`)
  }
}

/** The sum of all samples of that name whose labels are these, whatever others they have; undefined when there is none. */
export function sumOf({ samples }: Exposition, name: string, labels: Record<string, string> = {}) {
  const found = samples.filter(
    (sample) =>
      sample.name === name && Object.entries(labels).every(([label, text]) => sample.labels[label] === text),
  )
  return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0)
}

/** Scrapes as Prometheus does, for the ports that a program said it listens on. */
export async function scrape({ lines }: { lines: { message?: string; url?: unknown }[] }) {
  const url = lines.find(({ message }) => message === 'metrics')?.url
  const response = await fetch(String(url))
  const text = await response.text()
  if (response.status !== 200) throw new Error(`${response.status}: ${text}`)
  if (response.headers.get('Content-Type') !== 'text/plain; version=0.0.4; charset=utf-8')
    throw new Error(`type ${response.headers.get('Content-Type')}`)
  return readExposition(text)
}
