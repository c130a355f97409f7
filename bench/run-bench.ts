/** Runs a benchmark and stops every API that it started, however it ends. */
import { stopApis } from '../test/support/processes.ts'

/** Exits with 1 if `main` fails, on SIGINT or SIGTERM, and when the output is closed. */
export async function runBench(main: () => Promise<void>): Promise<void> {
  let ending: Promise<never> | undefined
  const end = () => {
    ending ??= stopApis().then(() => process.exit(1))
    return ending
  }
  for (const stream of [process.stdout, process.stderr]) stream.on('error', end)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, end)
  try {
    await main()
  } catch (error) {
    console.error(error)
    await end()
  }
}
