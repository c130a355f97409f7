/** Time limits of questions to the store. */
import { TimeoutError, withTimeout } from '../core/timeout.ts'

/** Rejects with a TimeoutError when `work` takes too long; it goes on, and its late outcome is ignored. */
export type TimeLimit = <T>(work: Promise<T>) => Promise<T>

/** One timer for each: on Workers a timer belongs to one request, and so cannot serve another's question. */
export const timerEach =
  (ms: number): TimeLimit =>
  (work) =>
    withTimeout(ms, work)

/** A question without an answer, in a ring from the oldest to the newest. */
type Waiting = { older: Waiting; newer: Waiting; until: number; reject: (error: Error) => void }

/**
 * One timer for all, which looks at the oldest: a timer and its promises cost 2 µs a question. It fires up to
 * a tenth later than `ms`, and only while there are questions. An answered question leaves the ring at once:
 * objects that wait for the timer would outlive two scavenges, and their promises with them.
 */
export function timerForAll(ms: number): TimeLimit {
  const ring = { until: Number.POSITIVE_INFINITY } as Waiting
  ring.older = ring
  ring.newer = ring
  let isTiming = false

  function look() {
    const now = Date.now()
    while (ring.newer.until <= now) {
      const late = ring.newer
      leave(late)
      late.reject(new TimeoutError(`no answer within ${ms} ms`))
    }
    isTiming = ring.newer !== ring
    if (isTiming) setTimeout(look, ms / 10)
  }

  function enter(reject: Waiting['reject']): Waiting {
    const waiting = { older: ring.older, newer: ring, until: Date.now() + ms, reject }
    ring.older.newer = waiting
    ring.older = waiting
    if (!isTiming) setTimeout(look, ms / 10)
    isTiming = true
    return waiting
  }

  return (work) =>
    new Promise((resolve, reject) => {
      const waiting = enter(reject)
      work.then(
        (answer) => {
          leave(waiting)
          resolve(answer)
        },
        (error) => {
          leave(waiting)
          reject(error)
        },
      )
    })
}

/** Leaving a second time changes nothing. */
function leave(waiting: Waiting) {
  waiting.older.newer = waiting.newer
  waiting.newer.older = waiting.older
  waiting.older = waiting
  waiting.newer = waiting
}
