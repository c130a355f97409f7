/** Lets so many through at a time, one of each user, and the users in turn. */
import { DatabaseBusyError } from '../../ports/database.ts'
import { waitIn } from './gate.ts'
import { createWaitingLine, type WaitingLine } from './waiting-line.ts'

type User = { isInside: boolean; waiting: WaitingLine<() => void> }

type Limits = {
  places: number
  /** How many may wait of one user, and of all. */
  waitingOfEach: number
  waitingOfAll: number
}

export function createFairGate({ places, waitingOfEach, waitingOfAll }: Limits) {
  const users = new Map<number, User>()
  /** Users with somebody waiting and nobody inside, in the order of their turns. */
  const turns = createWaitingLine<User>()
  let taken = 0
  let waiting = 0

  function admitNext() {
    while (taken < places) {
      const user = turns.shift()
      if (!user) return
      // Undefined where all of theirs have given up: an entry is left in the line then.
      const admit = user.isInside ? undefined : user.waiting.shift()
      if (!admit) continue
      user.isInside = true
      taken++
      admit()
    }
  }

  function forgetIfGone(id: number, user: User) {
    if (!user.isInside && user.waiting.length() === 0 && users.get(id) === user) users.delete(id)
  }

  function leave(id: number, user: User) {
    user.isInside = false
    taken--
    if (user.waiting.length() > 0) turns.push(user)
    else forgetIfGone(id, user)
    admitNext()
  }

  async function wait(id: number, user: User, ms: number) {
    const isFirst = !user.isInside && user.waiting.length() === 0
    waiting++
    try {
      const admitted = waitIn(user.waiting, ms, () => new DatabaseBusyError(`no turn came within ${ms} ms`))
      if (isFirst) turns.push(user)
      await admitted
    } finally {
      waiting--
      forgetIfGone(id, user)
    }
  }

  return {
    /**
     * Resolves with what leaves again.
     * @throws DatabaseBusyError when too many wait, or the user's turn did not come within `ms`
     */
    async enter(ms: number, id: number): Promise<() => void> {
      const user = users.get(id) ?? { isInside: false, waiting: createWaitingLine() }
      if (taken < places && !user.isInside && user.waiting.length() === 0) {
        user.isInside = true
        taken++
      } else {
        if (waiting >= waitingOfAll || user.waiting.length() >= waitingOfEach)
          throw new DatabaseBusyError('too many heavy statements are waiting')
        users.set(id, user)
        await wait(id, user, ms)
      }
      users.set(id, user)
      return () => leave(id, user)
    },
    /** How many are inside, and waiting, at this moment. */
    load: () => ({ running: taken, waiting }),
  }
}
