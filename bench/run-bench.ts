/** Runs the main function of a benchmark, and leaves no API behind however it ends. */
import { stopApis } from '../test/support/processes.ts'

/** Ends the process with 1 when `main` fails, on SIGINT or SIGTERM, or when nobody reads the output any more. */
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
