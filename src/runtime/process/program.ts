/** What programs that go on until they are told to stop have in common. */
import { type Config, readConfig } from '../../config/api.ts'
import { createLogger, type Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { logOnOutput } from './output.ts'
import { createStack, type Stack, stopOnSignals } from './shutdown.ts'

/**
 * Reads the settings, and starts; a failure stops what had been started and ends the process with 1, a StartError in its
 * own words alone. When `start` answers something to wait for, its end is such a failure, and what it resolves with the reason.
 */
export function runProgram(
  start: (config: Config, log: Logger, stack: Stack) => Promise<{ failed?: Promise<string> }>,
): void {
  logOnOutput()
  run(start).catch((error: unknown) => {
    console.error(error instanceof StartError ? error.message : error)
    process.exit(1)
  })
}

async function run(start: Parameters<typeof runProgram>[0]) {
  const config = readConfig(process.env)
  const log = createLogger(config.logLevel)
  const stack = createStack(log)
  const isStopping = stopOnSignals(stack, log, config.shutdownDelayMs)
  try {
    const { failed } = await start(config, log, stack)
    if (failed) throw new StartError(`${await failed}: stopping`)
  } catch (error) {
    await stack.unwind()
    // The signal's own exit follows.
    if (!isStopping()) throw error
  }
}
