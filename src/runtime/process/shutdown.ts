/** Stopping: what was started is stopped in reverse, once, on whichever signal comes first. */
import { setTimeout as sleep } from 'node:timers/promises'
import { errorFields, type Logger } from '../../core/log.ts'

export type Stack = {
  /** What comes when everything is being stopped already is stopped with it. */
  push(name: string, stop: () => Promise<void>): void
  /** Stops everything, last started first; one that fails keeps none of the others up. May be called again. */
  unwind(): Promise<void>
  /** Calls back once the process is told to stop, while it goes on serving for a while. */
  onStopping(act: () => void): void
  /** Calls back everything that waits for that. Answers whether anything did. */
  announceStop(): boolean
}

/** After so long, and the delay before, a process that is still stopping is ended all the same. */
const limitMs = 9500

export function createStack(log: Logger): Stack {
  const entries: { name: string; stop: () => Promise<void> }[] = []
  const listeners: (() => void)[] = []
  let stopping = false
  let unwinding: Promise<void> | undefined
  async function unwind() {
    for (let entry = entries.pop(); entry; entry = entries.pop()) {
      try {
        await entry.stop()
      } catch (error) {
        log.error(`${entry.name} did not stop cleanly`, errorFields(error))
      }
    }
  }
  return {
    push: (name, stop) => {
      entries.push({ name, stop })
    },
    unwind: () => (unwinding ??= unwind()),
    onStopping(act) {
      listeners.push(act)
      if (stopping) act()
    },
    announceStop() {
      stopping = true
      for (const act of listeners) act()
      return listeners.length > 0
    },
  }
}

/** Stops this process gracefully, once: `begin` may be called again. */
export function createStop(stack: Stack, log: Pick<Logger, 'info'>) {
  let since: number | undefined
  return {
    /**
     * Exits with 0 when all is stopped, with 1 when that takes too long. What serves goes on for `delayMs` before, so
     * that a balancer can see by /readyz that it is to send no more.
     */
    async begin(delayMs: number, fields: Record<string, unknown> = {}) {
      if (since !== undefined) return
      since = Date.now()
      log.info('stopping', fields)
      setTimeout(() => process.exit(1), delayMs + limitMs).unref()
      if (stack.announceStop()) await sleep(delayMs)
      await stack.unwind()
      log.info('stopped')
      process.exit(0)
    },
    hasBegun: () => since !== undefined,
    msSince: () => (since === undefined ? 0 : Date.now() - since),
  }
}

export const stopSignals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/**
 * A signal stops gracefully and exits with 0; a second one ends the process at once. Answers whether one has come: a start
 * that fails then has failed because of it.
 */
export function stopOnSignals(stack: Stack, log: Logger, delayMs: number): () => boolean {
  const stop = createStop(stack, log)
  for (const signal of stopSignals) {
    process.on(signal, () => {
      if (!stop.hasBegun()) stop.begin(delayMs, { signal })
      // One signal comes twice under npm: to the group, from a terminal or from systemd, and handed on by npm.
      else if (stop.msSince() >= 1000) {
        // The children notice by their pipes that this process is gone, and end.
        process.exit(1)
      }
    })
  }
  return stop.hasBegun
}
