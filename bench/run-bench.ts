/** Runs a benchmark and ends everything that it started, however it ends. */
import { stopApis } from '../test/support/processes.ts'

/** Registers work for the end of the benchmark; the last registered is done first. */
export type AtEnd = (cleanUp: () => unknown) => void

/** Exits with 1 if `main` fails, on SIGINT or SIGTERM, and when the output is closed. */
export async function runBench(main: (atEnd: AtEnd) => Promise<void>): Promise<void> {
  const cleanUps: (() => unknown)[] = [stopApis]
  let cleaned: Promise<void> | undefined
  const cleanUpAll = async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) {
      await Promise.resolve(cleanUp()).catch((error) => console.error(error))
    }
  }
  const end = async () => {
    cleaned ??= cleanUpAll()
    await cleaned
    process.exit(1)
  }
  for (const stream of [process.stdout, process.stderr]) stream.on('error', end)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, end)
  try {
    await main((cleanUp) => cleanUps.push(cleanUp))
    cleaned ??= cleanUpAll()
    await cleaned
  } catch (error) {
    // An end by a signal takes services away from what still runs.
    if (!cleaned) console.error(error)
    await end()
  }
}
