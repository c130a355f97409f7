import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import type { Program } from './processes.ts'

/**
 * Runs `act` anew, for some times, should the store have been lost to one of the processes meanwhile: one that does not
 * answer within a second, on a busy machine, is done without, and limits are each process's own then.
 */
export async function withStoreThere<T>(apis: Pick<Program, 'lines'>[], act: () => Promise<T>): Promise<T> {
  const count = (text: string) =>
    apis.flatMap(({ lines }) => lines).filter(({ message }) => message?.startsWith(text)).length
  for (let attempt = 0; attempt < 5; attempt++) {
    const returns = count('the store is back')
    const result = await act()
    // What the answers were logged with is in the pipe by now.
    await nextTurn()
    await nextTurn()
    if (count('the store is lost') === returns) return result
    // For two seconds it is not asked again.
    await sleep(2500)
  }
  throw new Error('this machine is too slow for a store that answers within a second')
}
