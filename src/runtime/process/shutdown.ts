/** Graceful shutdown: stops everything that was started, in reverse order. */
import { setTimeout as sleep } from 'node:timers/promises'
import { errorFields, type Logger } from '../../core/log.ts'

export type Stack = {
  /** May be called while the stack unwinds: the entry is then stopped next. */
  push(name: string, stop: () => Promise<void>): void
  /** Stops every entry, the last pushed first. An entry that fails is logged. May be called again. */
  unwind(): Promise<void>
  /** Registers a listener for the begin of a shutdown, while the process still serves. */
  onStopping(act: () => void): void
  /** Returns whether there were listeners. */
  announceStop(): boolean
}

/** A process that has not stopped this long after the delay exits all the same. */
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

/** Shuts this process down gracefully, once. */
export function createStop(stack: Stack, log: Pick<Logger, 'info'>) {
  let since: number | undefined
  return {
    /**
     * Exits with 0 when everything has stopped, with 1 when that takes too long. Servers go on for `delayMs`
     * first, so that a load balancer sees by /readyz that it should send no more. May be called again.
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
 * The first signal shuts down gracefully, a second one exits at once. Returns a function that tells whether
 * one has come: a start that fails afterwards has failed because of it.
 */
export function stopOnSignals(stack: Stack, log: Logger, delayMs: number): () => boolean {
  const stop = createStop(stack, log)
  for (const signal of stopSignals) {
    process.on(signal, () => {
      if (!stop.hasBegun()) stop.begin(delayMs, { signal })
      // Under npm one signal comes twice: from the terminal or systemd to the group, and forwarded by npm.
      // The children notice by their pipes that this process is gone, and end.
      else if (stop.msSince() >= 1000) process.exit(1)
    })
  }
  return stop.hasBegun
}
