/** Order and limits of statements that wait, heavy ones by user. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test, vi } from 'vitest'
import { createSemaphore } from '../../src/core/semaphore.ts'
import { DatabaseBusyError } from '../../src/ports/database.ts'
import { createFairSemaphore } from '../../src/runtime/postgres/fair-semaphore.ts'

const patience = 60_000
const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Acquires and releases by user, and records the order. */
function open(limits: Partial<Parameters<typeof createFairSemaphore>[0]> = {}) {
  const semaphore = createFairSemaphore({ slots: 2, waitingPerUser: 10, waitingInAll: 50, ...limits })
  const holders: { user: number; release: () => void }[] = []
  const order: number[] = []
  return {
    semaphore,
    order,
    users: () => holders.map(({ user }) => user),
    acquire: async (user: number) => {
      const release = await semaphore.acquire(patience, user)
      holders.push({ user, release })
      order.push(user)
    },
    async release(user: number) {
      const index = holders.findIndex((each) => each.user === user)
      holders.splice(index, 1)[0]?.release()
      await turn()
    },
  }
}

test('each user holds one slot at most, and the users take turns', async () => {
  const { semaphore, acquire, release, users, order } = open()
  const all = [1, 1, 1, 1, 2, 2, 3, 3, 3].map(acquire)
  await turn()
  expect(users()).toEqual([1, 2])
  expect(semaphore.load()).toEqual({ running: 2, waiting: 7 })
  for (let left = all.length; left > 0; left--) {
    expect(new Set(users()).size).toBe(users().length)
    await release(users()[0] as number)
  }
  await Promise.all(all)
  // User 3 has not waited for the four of user 1.
  expect(order).toEqual([1, 2, 3, 1, 2, 3, 1, 3, 1])
  expect(semaphore.load()).toEqual({ running: 0, waiting: 0 })
})

test('a slot stays free rather than going to a user who holds one', async () => {
  const { acquire, release, users } = open()
  const first = [acquire(1), acquire(1)]
  await turn()
  expect(users()).toEqual([1])
  await acquire(2)
  expect(users()).toEqual([1, 2])
  await release(1)
  expect(users()).toEqual([2, 1])
  await Promise.all(first)
})

test('a user with too many waiting is refused at once, others are not', async () => {
  const { semaphore, acquire } = open({ waitingPerUser: 2 })
  await acquire(1)
  void acquire(1)
  void acquire(1)
  await expect(semaphore.acquire(patience, 1)).rejects.toThrow(DatabaseBusyError)
  await acquire(2)
  void acquire(2)
  expect(semaphore.load()).toEqual({ running: 2, waiting: 3 })
})

test('everybody is refused when too many wait', async () => {
  const { semaphore, acquire } = open({ slots: 1, waitingInAll: 3 })
  await acquire(1)
  for (const user of [2, 3, 4]) void acquire(user)
  for (const user of [5, 1])
    await expect(semaphore.acquire(patience, user)).rejects.toThrow(DatabaseBusyError)
})

test('a wait that times out holds up nobody behind it', async () => {
  const { semaphore, acquire, release, users } = open({ slots: 1 })
  await acquire(1)
  const late = [1, 2, 2, 3].map((user) => semaphore.acquire(20, user))
  await Promise.all(late.map((each) => expect(each).rejects.toThrow('no turn came within 20 ms')))
  const later = [acquire(2), acquire(3)]
  await turn()
  for (const user of [1, 2, 3]) {
    expect(users()).toEqual([user])
    await release(user)
  }
  await Promise.all(later)
  expect(semaphore.load()).toEqual({ running: 0, waiting: 0 })
})

test('waits that timed out keep no memory', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const semaphore = createSemaphore(1)
  const late = () => new Error('late')
  await semaphore.acquire(patience, late)
  const errors: WeakRef<object>[] = []
  for (let i = 0; i < 20; i++)
    await semaphore.acquire(1, late).catch((error: object) => errors.push(new WeakRef(error)))
  expect(errors).toHaveLength(20)
  const kept = () => {
    collect()
    return errors.filter((error) => error.deref()).length
  }
  await vi.waitFor(() => expect(kept()).toBeLessThanOrEqual(1), { timeout: 30_000, interval: 50 })
  expect(semaphore.load()).toEqual({ running: 1, waiting: 0 })
})
