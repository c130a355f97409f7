/** Lets so many through at a time; the others wait. */
import { DeadlineError } from '../../ports/database.ts'
import { createWaitingLine, type WaitingLine } from './waiting-line.ts'

export type Gate = {
  /**
   * Resolves, first come first served, with what leaves again.
   * @throws DeadlineError when there was no place within `ms`
   */
  enter(ms: number): Promise<() => void>
  /** How many are inside, and before the door, at this moment. */
  load(): { running: number; waiting: number }
}

export function createGate(places: number): Gate {
  const waiting = createWaitingLine<() => void>()
  let taken = 0

  function leave() {
    const next = waiting.shift()
    // The place is handed on rather than freed, so that nobody who comes meanwhile overtakes.
    if (next) next()
    else taken--
  }

  return {
    load: () => ({ running: taken, waiting: waiting.length() }),
    async enter(ms) {
      if (taken < places) taken++
      else await waitIn(waiting, ms, () => new DeadlineError(`no connection was free within ${ms} ms`))
      return leave
    },
  }
}

/** Resolves when what it puts into the line is called; rejects with `late` after `ms`. */
export function waitIn(line: WaitingLine<() => void>, ms: number, late: () => Error): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      leave()
      reject(late())
    }, ms)
    const leave = line.push(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}
