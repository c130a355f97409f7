/** What several processes have counted, added up, as if one had: no figure falls because one of them has ended. */
import type { Worker } from 'node:cluster'
import { addCounts, countsOf, type Prometheus, type Snapshot } from '../metrics/prometheus.ts'

/** Prometheus itself gives up after 10 s by default. */
const answerMs = 3_000

type Tell = (worker: Worker, message: { kind: 'scrape' }) => void

export type Scrape = ReturnType<typeof createScrape>

/** `own` is this process's; without it none asks. */
export function createScrape(own: Pick<Prometheus, 'snapshot'> | undefined, tell: Tell) {
  const told = new Map<Worker, Snapshot>()
  const asked = new Map<Worker, Set<() => void>>()
  /** In the order that they ended. */
  let ended: Promise<Snapshot> = Promise.resolve([])

  function answered(worker: Worker) {
    for (const resolve of asked.get(worker) ?? []) resolve()
    asked.delete(worker)
  }

  /** Resolves with whether it has answered in time; an earlier question's answer is as good. */
  function ask(worker: Worker): Promise<boolean> {
    return new Promise((resolve) => {
      if (!worker.isConnected()) return resolve(false)
      const waiting = asked.get(worker) ?? new Set()
      asked.set(worker, waiting)
      const timer = setTimeout(() => resolve(false), answerMs)
      waiting.add(() => {
        clearTimeout(timer)
        resolve(true)
      })
      tell(worker, { kind: 'scrape' })
    })
  }

  return {
    /** Of one that says nothing in time there is what it had counted before. */
    async collect(workers: Worker[]): Promise<Snapshot[]> {
      const [mine = [], ...inTime] = await Promise.all([own?.snapshot(), ...workers.map(ask)])
      // Both at one moment: one that ends is in the one or in the other.
      const live = workers.map((worker, index) => {
        const last = told.get(worker) ?? []
        return inTime[index] ? last : countsOf(last)
      })
      const gone = ended
      return [mine, ...live, await gone]
    },
    tells(worker: Worker, snapshot: Snapshot) {
      told.set(worker, snapshot)
      answered(worker)
    },
    hasEnded(worker: Worker) {
      const last = told.get(worker)
      told.delete(worker)
      if (last) ended = ended.then((sum) => addCounts(sum, last))
      answered(worker)
    },
  }
}
