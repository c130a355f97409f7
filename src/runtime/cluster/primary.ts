/** Runs several API processes on one port: starts them, starts one again that died, and leaves none behind. */
import cluster, { type Worker } from 'node:cluster'
import type { Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import type { Prometheus } from '../metrics/prometheus.ts'
import type { Stack } from '../process/shutdown.ts'
import type { SharedServices } from '../shared-services.ts'
import type { FromWorker, ToWorker } from './messages.ts'
import { createScrape, type Scrape } from './scrape.ts'

type WorkersOptions = {
  /** Path of the bundled entry, dist/api-worker.js. */
  entry: string
  count: number
  services: SharedServices
  /** This process's own; where metrics are wanted. */
  prometheus: Prometheus | undefined
  log: Logger
  stack: Stack
}

const firstDelayMs = 100
const longestDelayMs = 5_000
/** A process that lived so long did not die of its start: the next delay is the first one again. */
const livedMs = 10_000
/** Longer than requests, relay and connections are given in there, shorter than what the service has in all. */
const stopWaitMs = 8_000

/**
 * Resolves with the port when every process serves. All of them accept connections from the one socket, whoever is free: the
 * other way, this process dealing them out in turn, loses for good what it has dealt to a process that is killed before
 * it takes it, and took 2.5 times as long for a request on a connection of its own.
 * @throws StartError when one of them cannot serve
 */
export async function startWorkers({ entry, count, services, prometheus, log, stack }: WorkersOptions) {
  cluster.schedulingPolicy = cluster.SCHED_NONE
  cluster.setupPrimary({ exec: entry })
  const scrape = createScrape(prometheus, tell)
  const workers = Array.from({ length: count }, (_, index) =>
    keepWorker({ serve: { kind: 'serve', services, workerIndex: index + 1 }, scrape, log }),
  )
  stack.push('API processes', async () => {
    await Promise.all(workers.map(({ stop }) => stop()))
  })
  const [port = 0] = await Promise.all(workers.map(({ serving }) => serving))
  stack.onStopping(() => {
    for (const { drain } of workers) drain()
  })
  return {
    port,
    /** What all of them have counted, and this process. */
    collect: () => scrape.collect(workers.map(({ current }) => current())),
  }
}

/**
 * One process after the other in the same workerIndex. One that dies again and again is started again ever later, up to
 * every 5 s, and never given up: the others serve meanwhile, and what it lacks may come back.
 */
function keepWorker({ serve, scrape, log }: { serve: ToWorker; scrape: Scrape; log: Logger }) {
  let phase: 'starting' | 'serving' | 'draining' | 'stopping' = 'starting'
  let current: Launched
  let restart: NodeJS.Timeout | undefined
  let delayMs = firstDelayMs

  const serving = new Promise<number>((resolve, reject) => {
    function start() {
      const startedAt = Date.now()
      const launched = launch(() => (phase === 'stopping' ? { kind: 'stop' } : serve))
      current = launched
      launched.worker.on('message', (message: FromWorker) => {
        // It could not hear of the drain before it was ready.
        if (message.kind === 'ready' && phase === 'draining') tell(launched.worker, { kind: 'drain' })
        if (message.kind === 'counted') scrape.tells(launched.worker, message.snapshot)
      })
      launched.worker.once('listening', ({ port }) => {
        if (phase === 'starting') phase = 'serving'
        resolve(port)
      })
      launched.ended.then((how) => {
        scrape.hasEnded(launched.worker)
        if (phase === 'starting')
          reject(new StartError(how.reason ?? 'an API process did not start: its own lines above say why'))
        if (phase !== 'serving') return
        if (Date.now() - startedAt >= livedMs) delayMs = firstDelayMs
        log.warn('API process died', { pid: launched.worker.process.pid, ...how, restart_in_ms: delayMs })
        restart = setTimeout(start, delayMs)
        delayMs = Math.min(delayMs * 2, longestDelayMs)
      })
    }
    start()
  })

  return {
    serving,
    current: () => current.worker,
    /** One that dies from now on is not started again. */
    drain() {
      if (phase === 'serving') phase = 'draining'
      clearTimeout(restart)
      tell(current.worker, { kind: 'drain' })
    },
    async stop() {
      phase = 'stopping'
      clearTimeout(restart)
      const { worker, ended } = current
      tell(worker, { kind: 'stop' })
      const timer = setTimeout(() => worker.process.kill('SIGKILL'), stopWaitMs)
      await ended
      clearTimeout(timer)
    },
  }
}

type Launched = { worker: Worker; ended: Promise<Ending> }
type Ending = { code?: number; signal?: string; error?: string; reason?: string }

/** `first` is what the process is told once it listens. */
function launch(first: () => ToWorker): Launched {
  const worker = cluster.fork()
  const ended = new Promise<Ending>((resolve) => {
    let reason: string | undefined
    worker.on('message', (message: FromWorker) => {
      if (message.kind === 'ready') tell(worker, first())
      if (message.kind === 'refused') reason = message.reason
    })
    // Where the process could not even be made there is an error and no exit.
    worker.once('error', ({ message }) => resolve({ error: message }))
    worker.once('exit', (code, signal) => resolve({ code, signal, ...(reason ? { reason } : {}) }))
  })
  return { worker, ended }
}

function tell(worker: Worker, message: ToWorker) {
  // One that is gone meanwhile is told by its exit.
  if (worker.isConnected()) worker.send(message, () => {})
}
