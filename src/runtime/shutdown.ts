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

/**
 * SIGTERM or SIGINT stops gracefully and exits with 0; a second one ends the process at once. Answers whether one has come:
 * a start that fails then has failed because of it.
 */
export function stopOnSignals(stack: Stack, log: Logger): () => boolean {
  let stoppingSince: number | undefined
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, async () => {
      if (stoppingSince !== undefined) {
        // One Ctrl-C comes twice under npm: from the terminal, and handed on by npm.
        if (signal === 'SIGINT' && Date.now() - stoppingSince < 1000) return
        // The children notice by their pipes that this process is gone, and end.
        process.exit(1)
      }
      stoppingSince = Date.now()
      log.info('stopping', { signal })
      setTimeout(() => process.exit(1), limitMs).unref()
      await stack.unwind()
      log.info('stopped')
      process.exit(0)
    })
  }
  return () => stoppingSince !== undefined
}
