/** Starts the embedded Postgres again when it ends under a running API. */
import { setTimeout as delay } from 'node:timers/promises'
import { errorFields, type Logger } from '../../core/log.ts'
import type { Launched } from './server.ts'

/** A server that ran so long did not end for the reason of the time before. */
const steadyMs = 60_000
const longestPauseMs = 30_000

/** Doesn't keep the process alive. Answers how the server is asked to end. */
export function keepRunning(
  first: Launched,
  launch: (signal: AbortSignal) => Promise<Launched>,
  log: Logger,
): () => Promise<void> {
  const stopping = new AbortController()
  const { signal } = stopping
  let server = first
  const watch = async () => {
    let failures = 0
    while (!signal.aborted) {
      server.unref()
      const since = Date.now()
      const ending = await server.exited
      if (signal.aborted) return
      const cause = await server.findCause().catch(() => undefined)
      log.error('the database ended unexpectedly: starting it again', { ending, cause })
      if (Date.now() - since > steadyMs) failures = 0
      server = await relaunch(failures++)
      log.info('the database runs again')
    }
  }
  const relaunch = async (failures: number): Promise<Launched> => {
    await delay(Math.min(100 * 2 ** failures, longestPauseMs), undefined, { signal, ref: false })
    try {
      return await launch(signal)
    } catch (error) {
      signal.throwIfAborted()
      log.warn('the database does not start', errorFields(error))
      return relaunch(failures + 1)
    }
  }
  const watching = watch().catch((error) => {
    if (!signal.aborted) log.error('the database is no longer watched', errorFields(error))
  })
  return async () => {
    stopping.abort()
    await server.end()
    await watching
    // One that was just being started again.
    await server.end()
  }
}
