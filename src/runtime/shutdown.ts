/** Stopping: what was started is stopped in reverse, once, on whichever signal comes first. */
import { errorFields, type Logger } from '../log.ts'

export type Stack = {
  /** What comes when everything is being stopped already is stopped with it. */
  push(name: string, stop: () => Promise<void>): void
  /** Stops everything, last started first; one that fails keeps none of the others up. May be called again. */
  unwind(): Promise<void>
}

/** After so long a process that is still stopping is ended all the same. */
const limitMs = 9500

export function createStack(log: Logger): Stack {
  const entries: { name: string; stop: () => Promise<void> }[] = []
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
  }
}

/** Stops this process gracefully, once: `begin` may be called again. */
export function createStop(stack: Stack, log: Pick<Logger, 'info'>) {
  let since: number | undefined
  return {
    /** Exits with 0 when all is stopped, with 1 when that takes too long. */
    async begin(fields: Record<string, unknown> = {}) {
      if (since !== undefined) return
      since = Date.now()
      log.info('stopping', fields)
      setTimeout(() => process.exit(1), limitMs).unref()
      await stack.unwind()
      log.info('stopped')
      process.exit(0)
    },
    hasBegun: () => since !== undefined,
    msSince: () => (since === undefined ? 0 : Date.now() - since),
  }
}

/**
 * SIGTERM or SIGINT stops gracefully and exits with 0; a second one ends the process at once. Answers whether one has come:
 * a start that fails then has failed because of it.
 */
export function stopOnSignals(stack: Stack, log: Logger): () => boolean {
  const stop = createStop(stack, log)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (!stop.hasBegun()) stop.begin({ signal })
      // One Ctrl-C comes twice under npm: from the terminal, and handed on by npm.
      else if (signal === 'SIGTERM' || stop.msSince() >= 1000) {
        // The children notice by their pipes that this process is gone, and end.
        process.exit(1)
      }
    })
  }
  return stop.hasBegun
}
