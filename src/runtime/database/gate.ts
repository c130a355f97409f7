import { DeadlineError } from '../../database.ts'

export type Gate = {
  /**
   * Resolves, first come first served, with what leaves again.
   * @throws DeadlineError when there was no place within `ms`
   */
  enter(ms: number): Promise<() => void>
  /** How many are inside, and before the door, at this moment. */
  load(): { running: number; waiting: number }
}

/** Lets so many through at a time. */
export function createGate(places: number): Gate {
  const waiting = new Set<() => void>()
  let taken = 0

  function leave() {
    const [next] = waiting
    // The place is handed on rather than freed, so that nobody who comes meanwhile overtakes.
    if (next) next()
    else taken--
  }

  return {
    load: () => ({ running: taken, waiting: waiting.size }),
    async enter(ms) {
      if (taken < places) {
        taken++
        return leave
      }
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(admit)
          reject(new DeadlineError(`no connection was free within ${ms} ms`))
        }, ms)
        function admit() {
          clearTimeout(timer)
          waiting.delete(admit)
          resolve(leave)
        }
        waiting.add(admit)
      })
    },
  }
}
