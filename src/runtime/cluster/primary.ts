/** The primary of a cluster: starts several API processes on one port, restarts those that die, stops all. */
import cluster, { type Worker } from 'node:cluster'
import type { Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import type { Prometheus, Snapshot } from '../metrics/prometheus.ts'
import type { Stack } from '../process/shutdown.ts'
import { type Ending, endingOf, killAfter, type Supervised, supervise } from '../process/supervise.ts'
import type { SharedServices } from '../shared-services.ts'
import type { FromWorker, ToWorker } from './messages.ts'
import { createScrape, type Scrape } from './scrape.ts'

type ClusterOptions = {
  /** Path of the bundle dist/cluster-process.js. */
  entry: string
  count: number
  services: SharedServices
  /** The primary's own metrics; undefined where metrics are off. */
  prometheus: Prometheus | undefined
  log: Logger
  stack: Stack
}

/** Longer than a worker's grace for requests, relay and connections, shorter than the service's own limit. */
const stopWaitMs = 8_000

/**
 * Resolves with the port when every worker serves. All of them accept connections from one socket. With round
 * robin, the primary loses the connections that it has dealt to a worker which is killed before it takes
 * them, and a request on a connection of its own took 2.5 times as long.
 * @throws StartError when a worker cannot serve
 */
export async function startCluster({ entry, count, services, prometheus, log, stack }: ClusterOptions) {
  cluster.schedulingPolicy = cluster.SCHED_NONE
  cluster.setupPrimary({ exec: entry })
  const scrape = createScrape(prometheus, send)
  const workers = Array.from({ length: count }, (_, index) =>
    keepWorker({ serve: { kind: 'serve', services, workerIndex: index + 1 }, scrape, log }),
  )
  stack.push('API processes', async () => {
    await Promise.all(workers.map(({ stop }) => stop()))
  })
  const [port = 0] = await Promise.all(workers.map(({ port }) => port))
  stack.onStopping(() => {
    for (const { drain } of workers) drain()
  })
  return {
    port,
    /** The metrics of all workers and of the primary. */
    collect: () => scrape.collect(workers.map(({ current }) => current())),
  }
}

/** Restarts a worker for as long as it takes: the others serve meanwhile, and what it lacks may come back. */
function keepWorker({ serve, scrape, log }: { serve: ToWorker; scrape: Scrape; log: Logger }) {
  let phase: 'serving' | 'draining' | 'stopping' = 'serving'

  function launch(): Launched {
    const launched = launchWorker((worker) => {
      send(worker, phase === 'stopping' ? { kind: 'stop' } : serve)
      if (phase === 'draining') send(worker, { kind: 'drain' })
    }, scrape.receive)
    launched.ended.then(() => scrape.workerEnded(launched.worker))
    return launched
  }

  const first = launch()
  const port = Promise.race([first.port, first.ended.then(refuseStart)])
  const supervisor = supervise(first, {
    started: port,
    launch: async () => launch(),
    onEnd: (how) => log.warn('API process died', how),
  })
  return {
    port,
    current: () => supervisor.current().worker,
    drain() {
      phase = 'draining'
      supervisor.stopRestarting()
      send(supervisor.current().worker, { kind: 'drain' })
    },
    stop() {
      phase = 'stopping'
      return supervisor.stop()
    },
  }
}

function refuseStart({ reason }: Ending): never {
  throw new StartError(String(reason ?? 'an API process did not start: its own lines above say why'))
}

type Launched = Supervised & { worker: Worker; port: Promise<number> }

function launchWorker(
  ready: (worker: Worker) => void,
  counted: (worker: Worker, snapshot: Snapshot) => void,
): Launched {
  const worker = cluster.fork()
  const { pid } = worker.process
  let reason: string | undefined
  worker.on('message', (message: FromWorker) => {
    if (message.kind === 'ready') ready(worker)
    if (message.kind === 'refused') reason = message.reason
    if (message.kind === 'counted') counted(worker, message.snapshot)
  })
  // Without a listener the error of a process that could not be spawned would be thrown.
  worker.on('error', () => {})
  const ended = endingOf(worker.process).then((how) => ({ pid, ...how, ...(reason ? { reason } : {}) }))
  return {
    worker,
    port: new Promise((resolve) => worker.once('listening', ({ port }) => resolve(port))),
    ended,
    end() {
      send(worker, { kind: 'stop' })
      return killAfter(stopWaitMs, ended, () => worker.process.kill('SIGKILL'))
    },
  }
}

function send(worker: Worker, message: ToWorker) {
  // A worker that is gone meanwhile is noticed by its exit.
  if (worker.isConnected()) worker.send(message, () => {})
}
