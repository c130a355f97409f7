/** Metrics of a cluster: the sums over all its processes, which never fall when one of them ends. */
import type { Worker } from 'node:cluster'
import { settleWithin } from '../../core/timeout.ts'
import { addCounts, countsOf, type Prometheus, type Snapshot } from '../metrics/prometheus.ts'

/** Prometheus itself gives up after 10 s by default. */
const answerMs = 3_000

type Send = (worker: Worker, message: { kind: 'scrape' }) => void

export type Scrape = ReturnType<typeof createScrape>

/** `own` are the metrics of the primary; undefined where metrics are off. */
export function createScrape(own: Pick<Prometheus, 'snapshot'> | undefined, send: Send) {
  const last = new Map<Worker, Snapshot>()
  const waiting = new Map<Worker, Set<(answered: true) => void>>()
  /** Sum of what the workers that ended had counted. */
  let ended: Promise<Snapshot> = Promise.resolve([])

  function release(worker: Worker) {
    for (const resolve of waiting.get(worker) ?? []) resolve(true)
    waiting.delete(worker)
  }

  /** Resolves with whether the worker answered in time; the answer to an earlier question counts too. */
  async function ask(worker: Worker): Promise<boolean> {
    if (!worker.isConnected()) return false
    const answer = new Promise<true>((resolve) => {
      const askers = waiting.get(worker) ?? new Set()
      waiting.set(worker, askers.add(resolve))
    })
    send(worker, { kind: 'scrape' })
    return (await settleWithin(answerMs, answer)) ?? false
  }

  return {
    /** A worker that does not answer in time counts with its last counters, and without its gauges. */
    async collect(workers: Worker[]): Promise<Snapshot[]> {
      const [mine = [], ...answered] = await Promise.all([own?.snapshot(), ...workers.map(ask)])
      // Read in the same turn as `ended`: a worker that ends is in the one or in the other.
      const live = workers.map((worker, index) => {
        const snapshot = last.get(worker) ?? []
        return answered[index] ? snapshot : countsOf(snapshot)
      })
      const gone = ended
      return [mine, ...live, await gone]
    },
    receive(worker: Worker, snapshot: Snapshot) {
      last.set(worker, snapshot)
      release(worker)
    },
    workerEnded(worker: Worker) {
      const counted = last.get(worker)
      last.delete(worker)
      if (counted) ended = ended.then((sum) => addCounts(sum, counted))
      release(worker)
    },
  }
}
