/** Runs a long-lived program: configuration, log, graceful shutdown. */
import { type Config, readConfig } from '../../config/api.ts'
import { createLogger, type Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { logOnOutput } from './output.ts'
import { createStack, type Stack, stopOnSignals } from './shutdown.ts'

/**
 * Reads the configuration and calls `start`. A failure stops what was started and exits with 1; a StartError
 * prints its message only. `failed` resolves with the reason when the program cannot go on.
 */
export function runProgram(
  start: (config: Config, log: Logger, stack: Stack) => Promise<{ failed?: Promise<string> }>,
): void {
  run(start, logOnOutput()).catch((error: unknown) => {
    console.error(error instanceof StartError ? error.message : error)
    process.exit(1)
  })
}

async function run(start: Parameters<typeof runProgram>[0], print: (line: string) => void) {
  const config = readConfig(process.env)
  const log = createLogger(config.logLevel, print)
  const stack = createStack(log)
  const isStopping = stopOnSignals(stack, log, config.shutdownDelayMs)
  try {
    const { failed } = await start(config, log, stack)
    if (failed) throw new StartError(`${await failed}: stopping`)
  } catch (error) {
    await stack.unwind()
    // A shutdown that has begun exits by itself.
    if (!isStopping()) throw error
  }
}
