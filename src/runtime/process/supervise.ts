/** Supervises a child process: restarts it whenever it ends, until it is told to stop. */
import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { backoffMs } from '../../core/backoff.ts'
import { errorFields } from '../../core/log.ts'

/** Log fields that say how a process ended. */
export type Ending = Record<string, unknown>

export type Supervised = {
  /** Never rejects. */
  ended: Promise<Ending>
  /** Resolves when the process is gone. May be called again. */
  end(): Promise<void>
}

type Options<T> = {
  /** A rejection counts as a child that ended at once. */
  launch(signal: AbortSignal): Promise<T>
  onEnd(how: Ending & { restart_in_ms: number }): void
  /** The first child is restarted once this has resolved, and never if it rejects. */
  started?: Promise<unknown>
  /** A restart that is due does not keep this process alive. */
  unref?: boolean
}

const restartBackoff = { firstMs: 100, longestMs: 5_000 }
/** A child that lived this long did not die of its start: its restart waits for the shortest time again. */
const stableMs = 10_000

export function supervise<T extends Supervised>(
  first: T,
  { launch, onEnd, started, unref = false }: Options<T>,
) {
  const stopping = new AbortController()
  const { signal } = stopping
  let current = first

  async function watch() {
    await started
    let running = { ended: first.ended, since: Date.now() }
    for (let failures = 0; ; failures++) {
      const how = await running.ended
      if (signal.aborted) return
      if (Date.now() - running.since >= stableMs) failures = 0
      const delayMs = backoffMs(failures, restartBackoff)
      onEnd({ ...how, restart_in_ms: delayMs })
      await sleep(delayMs, undefined, { signal, ref: !unref })
      running = await launch(signal).then(
        (child) => {
          current = child
          return { ended: signal.aborted ? Promise.resolve({}) : child.ended, since: Date.now() }
        },
        (error: unknown) => ({ ended: Promise.resolve(errorFields(error)), since: Date.now() }),
      )
    }
  }
  // Rejects when the sleep is aborted, or when the first child did not start.
  const watching = watch().catch(() => {})
  return {
    current: () => current,
    /** Leaves the current child alone, and starts no other. */
    stopRestarting: () => stopping.abort(),
    /** Ends the current child, and one that is just being launched. */
    async stop() {
      stopping.abort()
      await current.end()
      await watching
      await current.end()
    },
  }
}

/** Resolves with how the process ended. One that could not be spawned emits an error and no exit. */
export const endingOf = (child: ChildProcess) =>
  new Promise<Ending>((resolve) => {
    child.once('error', ({ message }) => resolve({ error: message }))
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })

/** Waits for a process that was asked to end, and kills it after `ms`. */
export async function killAfter(ms: number, ended: Promise<unknown>, kill: () => void): Promise<void> {
  const timer = setTimeout(kill, ms)
  await ended
  clearTimeout(timer)
}
