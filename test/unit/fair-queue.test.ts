import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type Asker, fairQueue } from '../../src/core/fair-queue.ts'

afterEach(() => {
  vi.useRealTimers()
})

class Refused extends Error {}

/** A queue whose jobs have names, and end on demand. */
function newQueue({ concurrency = 1, queueLimit = 100, waitMs = 60_000 } = {}) {
  const queue = fairQueue({ concurrency, queueLimit, waitMs }, () => new Refused())
  const underWay: { name: string; end: () => void }[] = []
  const started: string[] = []
  const refused: string[] = []

  function ask(asker: Asker, ...names: string[]) {
    for (const name of names) {
      const work = () =>
        new Promise<void>((end) => {
          started.push(name)
          underWay.push({ name, end })
        })
      queue.run(asker, work).catch((error: unknown) => {
        if (!(error instanceof Refused)) throw error
        refused.push(name)
      })
    }
  }

  /** The effects of an end or a refusal happen within microtasks. */
  const settle = async () => {
    for (let i = 0; i < 10; i++) await Promise.resolve()
  }

  async function endNext() {
    underWay.shift()?.end()
    await settle()
  }

  /** Ends all jobs in sequence; returns the names in the order in which they were started. */
  async function runAll() {
    while (underWay.length > 0) await endNext()
    return started
  }

  return { ask, endNext, runAll, settle, started, refused, load: queue.load }
}

const at = (address: string, user?: number): Asker => ({ address, ...(user !== undefined && { user }) })
const many = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}${i + 1}`)

describe('a fair queue', () => {
  test('runs jobs up to the concurrency, and those of one asker in order of arrival', async () => {
    const { ask, endNext, runAll, started, load } = newQueue({ concurrency: 2 })
    ask(at('A'), ...many('a', 5))
    expect(started).toEqual(['a1', 'a2'])
    expect(load()).toEqual({ running: 2, waiting: 3 })
    await endNext()
    expect(started).toEqual(['a1', 'a2', 'a3'])
    expect(await runAll()).toEqual(many('a', 5))
    expect(load()).toEqual({ running: 0, waiting: 0 })
  })

  test('serves addresses in turn, however many jobs each has', async () => {
    const { ask, endNext, runAll } = newQueue()
    ask(at('A'), ...many('a', 5))
    ask(at('B'), ...many('b', 2))
    await endNext()
    ask(at('C'), 'c1')
    expect(await runAll()).toEqual(['a1', 'a2', 'b1', 'a3', 'c1', 'b2', 'a4', 'a5'])
  })

  test('serves the users of an address in turn, in the turns of their address', async () => {
    const { ask, runAll } = newQueue()
    ask(at('A', 1), ...many('ann', 4))
    ask(at('A', 2), 'bob1')
    ask(at('A'), 'login')
    ask(at('B'), ...many('b', 3))
    expect(await runAll()).toEqual(['ann1', 'ann2', 'b1', 'bob1', 'b2', 'login', 'b3', 'ann3', 'ann4'])
  })

  test('lets no newcomer overtake a waiting asker', async () => {
    const { ask, endNext, started, runAll } = newQueue()
    ask(at('A'), ...many('a', 3))
    for (let i = 0; i < 20; i++) {
      ask(at(`other ${i}`), `${i}`)
      await endNext()
    }
    // A second job of A waits for one turn of every earlier asker, not for all newcomers.
    expect(started.indexOf('a3')).toBeLessThan(6)
    await runAll()
  })

  test('gives the whole queue to one address while nobody else waits', async () => {
    const { ask, runAll, refused } = newQueue({ queueLimit: 20 })
    ask(at('A'), ...many('a', 22))
    expect(await runAll()).toEqual(many('a', 21))
    expect(refused).toEqual(['a22'])
  })

  test.each([
    ['address', at('A'), at('B')],
    ['user, at whatever address,', at('A', 1), at('A', 2)],
    ['user beside a login', at('A', 1), at('A')],
  ])('gives at most half of the queue to one %s while others wait', async (_, hog, other) => {
    const { ask, settle, refused, load } = newQueue({ queueLimit: 20 })
    ask(hog, ...many('a', 16))
    ask(other, 'b1')
    await settle()
    // One runs; the newest waiting jobs were dropped.
    expect(refused.sort()).toEqual(['a12', 'a13', 'a14', 'a15', 'a16'])
    expect(load()).toEqual({ running: 1, waiting: 11 })
    ask(hog, 'more')
    ask(other, 'b2')
    await settle()
    expect(refused.slice(5)).toEqual(['more'])
    expect(load()).toEqual({ running: 1, waiting: 12 })
  })

  test('counts a user at all addresses together', async () => {
    const { ask, settle, refused } = newQueue({ queueLimit: 8 })
    ask(at('running'), 'first')
    for (const address of ['A', 'B', 'C', 'D', 'E', 'F']) ask(at(address, 1), address)
    ask(at('G', 2), 'g')
    await settle()
    expect(refused).toEqual(['F', 'E'])
  })

  test('drops the newest job of the asker with most jobs when it is full', async () => {
    const { ask, settle, refused } = newQueue({ queueLimit: 8 })
    ask(at('running'), 'first')
    ask(at('A', 1), 'ann1', 'ann2', 'ann3')
    ask(at('A', 2), 'bob1')
    ask(at('B'), ...many('b', 4))
    ask(at('C'), 'c1')
    await settle()
    expect(refused).toEqual(['b4'])
    ask(at('D'), 'd1')
    await settle()
    expect(refused).toEqual(['b4', 'ann3'])
    ask(at('B'), 'b5')
    await settle()
    expect(refused).toEqual(['b4', 'ann3', 'b5'])
  })

  test('refuses a job that has waited too long, and never starts it', async () => {
    vi.useFakeTimers()
    const { ask, endNext, settle, started, refused, load } = newQueue({ waitMs: 5000 })
    ask(at('A'), 'a1', 'a2')
    await vi.advanceTimersByTimeAsync(3000)
    ask(at('B'), 'b1')
    await vi.advanceTimersByTimeAsync(2000)
    await settle()
    expect([started, refused, load()]).toEqual([['a1'], ['a2'], { running: 1, waiting: 1 }])
    await endNext()
    expect(started).toEqual(['a1', 'b1'])
    expect(vi.getTimerCount()).toBe(0)
  })

  test('frees the slot of a job that never ends', async () => {
    vi.useFakeTimers()
    const { ask, settle, started } = newQueue({ waitMs: 200_000 })
    ask(at('A'), 'lost', 'waiting')
    await vi.advanceTimersByTimeAsync(61_000)
    ask(at('B'), 'b1')
    await settle()
    expect(started).toEqual(['lost', 'waiting'])
  })

  test('keeps its rules in any order of arrivals and ends, and keeps no state of an asker', async () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.tuple(fc.nat(4), fc.option(fc.nat(3), { nil: undefined })) },
      { weight: 1, arbitrary: fc.constant('end' as const) },
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 120 }),
        fc.integer({ min: 1, max: 12 }),
        async (steps, queueLimit) => {
          const concurrency = 2
          const half = Math.max(1, Math.floor(queueLimit / 2))
          const waiting = new Map<string, Asker>()
          const { ask, endNext, runAll, started, refused, settle, load } = newQueue({
            concurrency,
            queueLimit,
          })
          let names = 0
          for (const each of steps) {
            if (each === 'end') await endNext()
            else {
              const asker = at(`address ${each[0]}`, each[1])
              const name = `${names++}`
              ask(asker, name)
              waiting.set(name, asker)
              await settle()
            }
            for (const name of [...started, ...refused]) waiting.delete(name)
            expect(waiting.size).toBe(load().waiting)
            expect(waiting.size).toBeLessThanOrEqual(queueLimit)
            const askers = [...waiting.values()]
            for (const { address, user } of askers) {
              const ofAddress = askers.filter((other) => other.address === address).length
              const ofUser = askers.filter((other) => other.user === user).length
              if (ofAddress < askers.length) expect(ofAddress).toBeLessThanOrEqual(half)
              if (user !== undefined && ofUser < askers.length) expect(ofUser).toBeLessThanOrEqual(half)
            }
          }
          await runAll()
          expect(started.length + refused.length).toBe(names)
          expect(new Set([...started, ...refused]).size).toBe(names)
          expect(load()).toEqual({ running: 0, waiting: 0 })
        },
      ),
      { numRuns: 300 },
    )
  })
})
