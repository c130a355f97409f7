export type Semaphore = ReturnType<typeof createSemaphore>

/** A node of a ring. One that was removed points at itself, so that it keeps no other in memory. */
type Waiter = { previous: Waiter; next: Waiter; wake: () => void }

/**
 * A counting semaphore: callers beyond the number of slots wait, first in, first out, in a linked list. V8's
 * Set can keep removed values in memory, in tables that it has outgrown.
 */
export function createSemaphore(slots: number) {
  const line = createRing()
  let running = 0
  let waiting = 0

  function remove(waiter: Waiter) {
    waiter.previous.next = waiter.next
    waiter.next.previous = waiter.previous
    waiter.previous = waiter
    waiter.next = waiter
    waiting--
  }

  function wait(ms: number, late: () => Error): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        remove(waiter)
        reject(late())
      }, ms)
      const wake = () => {
        clearTimeout(timer)
        resolve()
      }
      const waiter: Waiter = { previous: line.previous, next: line, wake }
      line.previous.next = waiter
      line.previous = waiter
      waiting++
    })
  }

  function release() {
    const { next } = line
    if (next === line) {
      running--
      return
    }
    // The slot is handed over rather than freed, so that no newcomer overtakes.
    remove(next)
    next.wake()
  }

  return {
    load: () => ({ running, waiting }),
    /** Resolves with a function that releases the slot, once. @throws what `late` returns, after `ms` */
    async acquire(ms: number, late: () => Error) {
      if (running < slots) running++
      else await wait(ms, late)
      return release
    },
  }
}

function createRing(): Waiter {
  const ring = { wake() {} } as Waiter
  ring.previous = ring
  ring.next = ring
  return ring
}
