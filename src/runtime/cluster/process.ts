/** In a process that serves beside others: does what the one that started it says. */
import { errorFields, type Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { createPrometheus, type Prometheus } from '../metrics/prometheus.ts'
import { createStop, type Stack } from '../process/shutdown.ts'
import type { FromWorker, ToWorker } from './messages.ts'

type Given = Omit<Extract<ToWorker, { kind: 'serve' }>, 'kind'>
type ClusterWorker = {
  log: Logger
  stack: Stack
  /** Keeps `prometheus` where metrics are wanted. */
  serve: (given: Given, prometheus: Prometheus | undefined) => Promise<unknown>
  measured: boolean
  /** Where SIGTERM comes to this process itself; else the one that started it waits. */
  shutdownDelayMs: number
}

/**
 * Serves when told what to stand on, and ends when told to, or by SIGTERM. When the other process is gone, by SIGKILL for
 * one, node:cluster ends this one at once.
 */
export function runClusterWorker({ log, stack, serve, measured, shutdownDelayMs }: ClusterWorker): void {
  let prometheus: Prometheus | undefined
  const stop = createStop(stack, { info: log.debug })
  process.on('SIGTERM', () => stop.begin(shutdownDelayMs, { signal: 'SIGTERM' }))
  // A terminal's signal comes here too; the process that started this one gets it as well, and says when to stop.
  for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {})
  process.on('message', (message: ToWorker) => {
    if (message.kind === 'drain') stack.announceStop()
    if (message.kind === 'stop') stop.begin(0)
    if (message.kind === 'serve') begin(message).catch(fail)
    if (message.kind === 'scrape') count().catch((error) => log.warn('not counted', errorFields(error)))
  })
  tell({ kind: 'ready' })

  async function begin(given: Given) {
    if (measured) prometheus = await createPrometheus(String(given.workerIndex))
    await serve(given, prometheus)
  }

  async function count() {
    tell({ kind: 'counted', snapshot: (await prometheus?.snapshot()) ?? [] })
  }

  async function fail(error: unknown) {
    if (error instanceof StartError) tell({ kind: 'refused', reason: error.message })
    else console.error(error)
    await stack.unwind()
    // Being told to stop has its own exit.
    if (!stop.hasBegun()) process.exit(1)
  }
}

function tell(message: FromWorker) {
  // Where nobody listens any more, this process is on its way out.
  process.send?.(message, undefined, {}, () => {})
}
