/** Restarts the embedded Postgres when it ends under a running API. */
import type { Logger } from '../../core/log.ts'
import { supervise } from '../process/supervise.ts'
import type { Launched } from './server.ts'

type Launch = (signal: AbortSignal) => Promise<Launched>

/** Does not keep the process alive. Returns the function that stops the server. */
export function keepRunning(first: Launched, launch: Launch, log: Logger) {
  const supervised = (server: Launched) => {
    server.unref()
    const findCause = () => server.findCause().catch(() => undefined)
    const ended = server.exited.then(async (ending) => ({ ending, cause: await findCause() }))
    return { ended, end: server.end }
  }
  return supervise(supervised(first), {
    async launch(signal) {
      const server = supervised(await launch(signal))
      log.info('the database runs again')
      return server
    },
    onEnd: (how) => log.error('the database ended unexpectedly', how),
    unref: true,
  }).stop
}
