/** In a process that serves beside others: does what the one that started it says. */
import type { Logger } from '../../log.ts'
import { StartError } from '../../start-error.ts'
import { createStop, type Stack } from '../shutdown.ts'
import type { FromWorker, ToWorker } from './messages.ts'

type Serve = (given: Omit<Extract<ToWorker, { kind: 'serve' }>, 'kind'>) => Promise<unknown>

/**
 * Serves when told what to stand on, and ends when told to, or by SIGTERM. When the other process is gone, by SIGKILL for
 * one, node:cluster ends this one at once.
 */
export function attend({ log, stack, serve }: { log: Logger; stack: Stack; serve: Serve }): void {
  const stop = createStop(stack, { info: log.debug })
  process.on('SIGTERM', () => stop.begin({ signal: 'SIGTERM' }))
  // A terminal's Ctrl-C comes here too; the one that started this process gets it as well, and says when.
  process.on('SIGINT', () => {})
  process.on('message', (message: ToWorker) => {
    if (message.kind === 'stop') stop.begin()
    if (message.kind === 'serve') serve(message).catch(fail)
  })
  tell({ kind: 'ready' })

  async function fail(error: unknown) {
    if (error instanceof StartError) tell({ kind: 'refused', reason: error.message })
    else console.error(error)
    await stack.unwind()
    // Being told to stop has its own exit.
    if (!stop.hasBegun()) process.exit(1)
  }
}

function tell(message: FromWorker) {
  // Where nobody listens any more, this process is on its way out.
  process.send?.(message, undefined, {}, () => {})
}
