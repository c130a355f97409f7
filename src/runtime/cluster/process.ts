/** A worker of the cluster: serves and ends as the primary says. */
import { errorFields, type Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { createPrometheus, type Prometheus } from '../metrics/prometheus.ts'
import { createStop, type Stack } from '../process/shutdown.ts'
import type { FromWorker, ToWorker } from './messages.ts'

type Assignment = Omit<Extract<ToWorker, { kind: 'serve' }>, 'kind'>
type ClusterWorker = {
  log: Logger
  stack: Stack
  /** `prometheus` is undefined where metrics are off. */
  serve: (assignment: Assignment, prometheus: Prometheus | undefined) => Promise<unknown>
  hasMetrics: boolean
  /** For a SIGTERM to this process itself. Otherwise the primary waits. */
  shutdownDelayMs: number
}

/** Ends by the primary's message or by SIGTERM. node:cluster ends it at once when the primary dies. */
export function runClusterWorker({ log, stack, serve, hasMetrics, shutdownDelayMs }: ClusterWorker): void {
  let prometheus: Prometheus | undefined
  const stop = createStop(stack, { info: log.debug })
  process.on('SIGTERM', () => stop.begin(shutdownDelayMs, { signal: 'SIGTERM' }))
  // A terminal sends these to the whole group. The primary gets them too, and says when to stop.
  for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {})
  process.on('message', (message: ToWorker) => {
    if (message.kind === 'drain') stack.announceStop()
    if (message.kind === 'stop') stop.begin(0)
    if (message.kind === 'serve') start(message).catch(fail)
    if (message.kind === 'scrape') sendCounts()
  })
  send({ kind: 'ready' })

  async function start(assignment: Assignment) {
    if (hasMetrics) prometheus = await createPrometheus(String(assignment.workerIndex))
    await serve(assignment, prometheus)
  }

  async function sendCounts() {
    try {
      send({ kind: 'counted', snapshot: (await prometheus?.snapshot()) ?? [] })
    } catch (error) {
      log.warn('the metrics could not be collected', errorFields(error))
    }
  }

  async function fail(error: unknown) {
    if (error instanceof StartError) send({ kind: 'refused', reason: error.message })
    else console.error(error)
    await stack.unwind()
    // A stop that has begun exits by itself.
    if (!stop.hasBegun()) process.exit(1)
  }
}

function send(message: FromWorker) {
  // Nobody listens when the primary is gone; this process then ends too.
  process.send?.(message, undefined, {}, () => {})
}
