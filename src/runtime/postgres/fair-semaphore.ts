/** A semaphore in which each user holds one slot at most, and the users take turns. */
import { createSemaphore, type Semaphore } from '../../core/semaphore.ts'
import { DatabaseBusyError } from '../../ports/database.ts'

type Limits = { slots: number; waitingPerUser: number; waitingInAll: number }

type User = { turn: Semaphore; waiting: number }

/** The holder of a user's turn waits for a slot: the line for slots has each user once. */
export function createFairSemaphore({ slots, waitingPerUser, waitingInAll }: Limits) {
  const shared = createSemaphore(slots)
  const users = new Map<number, User>()
  let waiting = 0

  function openUser(id: number): User {
    const user = users.get(id) ?? { turn: createSemaphore(1), waiting: 0 }
    const isFree = user.turn.load().running === 0 && shared.load().running < slots
    if (!isFree && (waiting >= waitingInAll || user.waiting >= waitingPerUser))
      throw new DatabaseBusyError('too many heavy statements are waiting')
    users.set(id, user)
    return user
  }

  return {
    /**
     * Resolves with a function that releases the slot.
     * @throws DatabaseBusyError when too many wait, or the user's turn did not come within `ms`
     */
    async acquire(ms: number, id: number): Promise<() => void> {
      const user = openUser(id)
      const deadline = performance.now() + ms
      const late = () => new DatabaseBusyError(`no turn came within ${ms} ms`)
      const releases: (() => void)[] = []
      const release = () => {
        for (const each of releases) each()
        if (user.turn.load().running === 0) users.delete(id)
      }
      user.waiting++
      waiting++
      try {
        releases.push(await user.turn.acquire(ms, late))
        releases.unshift(await shared.acquire(Math.max(1, deadline - performance.now()), late))
        return release
      } catch (error) {
        release()
        throw error
      } finally {
        user.waiting--
        waiting--
      }
    },
    load: () => ({ running: shared.load().running, waiting }),
  }
}
