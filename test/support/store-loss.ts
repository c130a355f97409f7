import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import type { Program } from './processes.ts'

/**
 * Repeats `act` if a process lost its store meanwhile: on a busy machine the store may not answer within a
 * second, and each process then counts limits by itself.
 */
export async function withStoreThere<T>(apis: Pick<Program, 'lines'>[], act: () => Promise<T>): Promise<T> {
  const count = (text: string) =>
    apis.flatMap(({ lines }) => lines).filter(({ message }) => message?.startsWith(text)).length
  for (let attempt = 0; attempt < 5; attempt++) {
    const returns = count('the store is back')
    const result = await act()
    // By then the log lines of the answers are in the pipe.
    await nextTurn()
    await nextTurn()
    if (count('the store is lost') === returns) return result
    // The store is asked again after two seconds.
    await sleep(2500)
  }
  throw new Error('this machine is too slow for a store that answers within a second')
}
