/**
 * Reads Prometheus's text format:
 * https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
 */

export type Sample = { name: string; labels: Record<string, string>; value: number }
export type Exposition = { samples: Sample[]; types: Map<string, string> }

const sampleForm = /^([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)$/

/**
 * @throws Error for a line that is no sample, and for a second family or sample of the same name and labels
 */
export function readExposition(text: string): Exposition {
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  const samples = new Map<string, Sample>()
  const types = new Map<string, string>()
  const add = <T>(map: Map<string, T>, key: string, value: T) => {
    if (map.has(key)) throw new Error(`a second ${key}`)
    map.set(key, value)
  }
  for (const line of text.trimEnd().split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue
    const [, family, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
    if (family && type) add(types, family, type)
    else {
      const sample = readSample(line)
      add(samples, JSON.stringify([sample.name, Object.entries(sample.labels).sort()]), sample)
    }
  }
  return { samples: [...samples.values()], types }
}

function readSample(line: string): Sample {
  const [, name, inner = '', number = ''] = sampleForm.exec(line) ?? []
  const value = Number(number.replace('+Inf', 'Infinity'))
  if (!name || Number.isNaN(value)) throw new Error(`no sample: ${line}`)
  const labels = [...inner.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, text]) => [label, text])
  return { name, labels: Object.fromEntries(labels), value }
}

/**
 * The sum of the samples with this name and these labels, whatever other labels they have; undefined without
 * any.
 */
export function sumOf({ samples }: Exposition, name: string, labels: Record<string, string> = {}) {
  const found = samples.filter(
    (sample) =>
      sample.name === name && Object.entries(labels).every(([label, text]) => sample.labels[label] === text),
  )
  return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0)
}

/** Scrapes the metrics of a program, at the URL in its log. */
export async function scrape({ lines }: { lines: { message?: string; url?: unknown }[] }) {
  const url = lines.find(({ message }) => message === 'metrics')?.url
  const response = await fetch(String(url))
  const text = await response.text()
  if (response.status !== 200) throw new Error(`${response.status}: ${text}`)
  if (response.headers.get('Content-Type') !== 'text/plain; version=0.0.4; charset=utf-8')
    throw new Error(`type ${response.headers.get('Content-Type')}`)
  return readExposition(text)
}
