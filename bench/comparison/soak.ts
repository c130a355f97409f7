/** Runs our API for minutes at 80 % of its capacity, and watches memory and latency. */
import { readFileSync, statSync, truncateSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { root } from '../../test/support/directories.ts'
import { drive } from './generator.ts'
import { spreadOf } from './report.ts'
import { requestAt, requestCount, scenarios } from './scenarios.ts'
import type { Services } from './services.ts'
import { type Started, startTarget, targets } from './targets.ts'
import { memoryOf, treeOf } from './usage.ts'

const share = 0.8
/** Each connection sends these in turn. */
const mix = ['list', 'get', 'list', 'get', 'list', 'update', 'get', 'create']
const connections = 64
/** Growth of the heap from the first third of the minutes to the last, in MiB, and of p99 as a factor. */
const bounds = { heap: 8, p99: 1.5 }
/** A p99 of few milliseconds varies by as much from minute to minute. */
const p99ToleranceMs = 10

type Minute = { p50: number; p99: number; rss: number; heap: number }

/** False if memory or latency grew. */
export async function soak(
  services: Services,
  { minutes, processes }: { minutes: number; processes: number },
): Promise<boolean> {
  const { cached } = targets
  if (!cached) throw new Error('no target is ours')
  await services.reset(cached)
  const monitor = pathToFileURL(`${root}bench/event-loop-monitor.mjs`)
  const started = await startTarget(cached, services, { processes, nodeOptions: `--import=${monitor}` })
  let position = 0
  const load = async (seconds: number, rate?: number) => {
    const first = position
    position += requestCount
    const own = { paths: cached.paths, tokens: services.tokens.ours }
    const requests = Array.from({ length: requestCount }, (_, index) => {
      const turn = (index % connections) + Math.floor(index / connections)
      const scenario = scenarios[mix[turn % mix.length] ?? 'list']
      if (!scenario) throw new Error('the mix names a scenario that does not exist')
      return requestAt(scenario, own, first + index)
    })
    const options = { services, started, requests, statuses: [200, 201], connections, seconds }
    const result = await drive({ ...options, ...(rate === undefined ? {} : { rate }) })
    if (result.wrong > 0) throw new Error(`${result.wrong} of ${result.requests} answers are wrong`)
    return result
  }
  await load(10)
  const full = await load(20)
  const capacity = full.requests / full.seconds
  const rate = Math.round(capacity * share)
  console.log(
    `Capacity ${Math.round(capacity)} requests/s, p99 ${full.p99} ms; ${minutes} minutes at ${rate}/s.\n`,
  )
  console.log(
    '| minute | requests/s | p50 ms | p99 ms | RSS MiB | heap MiB |\n|---:|---:|---:|---:|---:|---:|',
  )
  const seen: Minute[] = []
  for (let minute = 1; minute <= minutes; minute++) {
    const { requests, seconds, p50, p99 } = await load(60, rate)
    const heap = await heapOf(started)
    const rss = memoryOf(started.pid).serving
    seen.push({ p50, p99, rss, heap })
    const figures = [minute, Math.round(requests / seconds), p50, p99, Math.round(rss), heap.toFixed(1)]
    console.log(`| ${figures.join(' | ')} |`)
  }
  await started.stop()
  return isFlat(seen)
}

function isFlat(minutes: Minute[]): boolean {
  const third = Math.ceil(minutes.length / 3)
  const median = (some: Minute[], name: keyof Minute) =>
    spreadOf(some.map((minute) => minute[name]))?.median ?? 0
  const change = (name: keyof Minute) => ({
    from: median(minutes.slice(0, third), name),
    to: median(minutes.slice(-third), name),
  })
  const [heap, p99] = [change('heap'), change('p99')]
  console.log(`\nFrom the first third of the minutes to the last: heap ${heap.from.toFixed(1)} to`)
  console.log(`${heap.to.toFixed(1)} MiB, p99 ${p99.from.toFixed(1)} to ${p99.to.toFixed(1)} ms.`)
  return heap.to - heap.from <= bounds.heap && p99.to <= p99.from * bounds.p99 + p99ToleranceMs
}

/** Empties the log, which would fill the disk, and asks each serving process for its heap in MiB. */
async function heapOf({ pid, log }: Started): Promise<number> {
  truncateSync(log)
  const serving = treeOf(pid).filter((each) => {
    const command = readFileSync(`/proc/${each}/cmdline`, 'utf8')
    return command.includes('cluster-process') || (each === pid && treeOf(pid).length <= 2)
  })
  for (const each of serving) process.kill(each, 'SIGUSR2')
  const deadline = Date.now() + 30_000
  for (;;) {
    const lines = statSync(log).size > 0 ? readFileSync(log, 'utf8').split('\n') : []
    const heaps = lines
      .filter((line) => line.startsWith('{') && line.includes('"monitor"'))
      .map((line) => JSON.parse(line).heap as number)
    if (heaps.length === serving.length) return heaps.reduce((sum, heap) => sum + heap, 0) / heaps.length
    if (Date.now() > deadline) throw new Error('the API does not report its heap')
    await sleep(50)
  }
}
