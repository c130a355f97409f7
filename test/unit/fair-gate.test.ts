/** The order in which heavy statements are let through. */
import { expect, test, vi } from 'vitest'
import { DatabaseBusyError } from '../../src/ports/database.ts'
import { createFairGate } from '../../src/runtime/postgres/fair-gate.ts'
import { createGate } from '../../src/runtime/postgres/gate.ts'

const patience = 60_000
const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Lets users in and out, and writes down the order in which they came in. */
function open(limits: Partial<Parameters<typeof createFairGate>[0]> = {}) {
  const gate = createFairGate({ places: 2, waitingOfEach: 10, waitingOfAll: 50, ...limits })
  const inside: { user: number; leave: () => void }[] = []
  const order: number[] = []
  return {
    gate,
    order,
    users: () => inside.map(({ user }) => user),
    enter: async (user: number) => {
      const leave = await gate.enter(patience, user)
      inside.push({ user, leave })
      order.push(user)
    },
    async leave(user: number) {
      const index = inside.findIndex((each) => each.user === user)
      inside.splice(index, 1)[0]?.leave()
      await turn()
    },
  }
}

test('one of each user is inside at a time, and the users come in turn', async () => {
  const { gate, enter, leave, users, order } = open()
  const all = [1, 1, 1, 1, 2, 2, 3, 3, 3].map(enter)
  await turn()
  expect(users()).toEqual([1, 2])
  expect(gate.load()).toEqual({ running: 2, waiting: 7 })
  for (let left = all.length; left > 0; left--) {
    expect(new Set(users()).size).toBe(users().length)
    await leave(users()[0] as number)
  }
  await Promise.all(all)
  // User 3 has not waited for the four of user 1.
  expect(order).toEqual([1, 2, 3, 1, 2, 3, 1, 3, 1])
  expect(gate.load()).toEqual({ running: 0, waiting: 0 })
})

test('a place stays free rather than letting a user in twice', async () => {
  const { enter, leave, users } = open()
  const first = [enter(1), enter(1)]
  await turn()
  expect(users()).toEqual([1])
  await enter(2)
  expect(users()).toEqual([1, 2])
  await leave(1)
  expect(users()).toEqual([2, 1])
  await Promise.all(first)
})

test('a user who has filled their part of the line is refused at once, others are not', async () => {
  const { gate, enter } = open({ waitingOfEach: 2 })
  await enter(1)
  void enter(1)
  void enter(1)
  await expect(gate.enter(patience, 1)).rejects.toThrow(DatabaseBusyError)
  await enter(2)
  void enter(2)
  expect(gate.load()).toEqual({ running: 2, waiting: 3 })
})

test('everybody is refused when the line is full', async () => {
  const { gate, enter } = open({ places: 1, waitingOfAll: 3 })
  await enter(1)
  for (const user of [2, 3, 4]) void enter(user)
  await expect(gate.enter(patience, 5)).rejects.toThrow(DatabaseBusyError)
  await expect(gate.enter(patience, 1)).rejects.toThrow(DatabaseBusyError)
})

test('a turn that does not come in time is given up, and is nobody else’s loss', async () => {
  const { gate, enter, leave, users } = open({ places: 1 })
  await enter(1)
  await Promise.all(
    [1, 2, 2, 3].map((user) => expect(gate.enter(20, user)).rejects.toThrow('no turn came within 20 ms')),
  )
  const later = [enter(2), enter(3)]
  await turn()
  await leave(1)
  expect(users()).toEqual([2])
  await leave(2)
  expect(users()).toEqual([3])
  await leave(3)
  await Promise.all(later)
  expect(gate.load()).toEqual({ running: 0, waiting: 0 })
})

test('those who gave up waiting keep no memory', async () => {
  const { setFlagsFromString } = await import('node:v8')
  const { runInNewContext } = await import('node:vm')
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const gate = createGate(1)
  await gate.enter(patience)
  const left: WeakRef<object>[] = []
  for (let i = 0; i < 20; i++) {
    await gate.enter(1).catch((error: object) => left.push(new WeakRef(error)))
  }
  expect(left).toHaveLength(20)
  await vi.waitFor(
    () => {
      collect()
      expect(left.filter((error) => error.deref()).length).toBeLessThanOrEqual(1)
    },
    { timeout: 30_000, interval: 50 },
  )
  expect(gate.load()).toEqual({ running: 1, waiting: 0 })
})
