import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { memoryCounters } from '../../src/runtime/store/memory-counters.ts'
import { createLimiter, type LimitRule, msUntilAllowed, withFallback } from '../../src/store/limiter.ts'
import { type Counters, createGuard } from '../../src/store/store.ts'
import { seeded } from '../support/random.ts'

const minute = 60_000
/** The beginning of a minute. */
const start = Math.floor(Date.UTC(2026, 10, 22, 7, 4) / minute) * minute
const rule: LimitRule = { name: 'user', limit: 5, windowMs: minute }

const newLimiter = () => createLimiter({ counters: memoryCounters() })

beforeEach(() => {
  vi.useFakeTimers({ now: start })
})
afterEach(() => {
  vi.useRealTimers()
})

describe('the sliding window', () => {
  test('allows exactly the limit and reports the remaining requests', async () => {
    const limiter = newLimiter()
    for (const remaining of [4, 3, 2, 1, 0]) {
      expect(await limiter.take(rule, 'ann')).toMatchObject({
        rule,
        allowed: true,
        remaining,
        resetAt: start + minute,
        retryAfterMs: 0,
      })
    }
    expect(await limiter.take(rule, 'ann')).toMatchObject({ allowed: false, remaining: 0 })
  })

  test('weighs the previous window by its share of the last window length, rounded down', async () => {
    const limiter = newLimiter()
    for (let i = 0; i < 5; i++) await limiter.take(rule, 'ann')
    // floor((1 - 12000 / 60000) * 5) is 4 from here on, and 5 only at the window's very first millisecond.
    vi.setSystemTime(start + minute)
    expect((await limiter.take(rule, 'ann')).allowed).toBe(false)
    vi.setSystemTime(start + minute + 1)
    expect(await limiter.take(rule, 'ann')).toMatchObject({ allowed: true, remaining: 0 })
    vi.setSystemTime(start + minute + 12_000)
    expect((await limiter.take(rule, 'ann')).allowed).toBe(false)
    vi.setSystemTime(start + minute + 12_001)
    expect(await limiter.take(rule, 'ann')).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('forgets a window after the next one', async () => {
    const limiter = newLimiter()
    for (let i = 0; i < 5; i++) await limiter.take(rule, 'ann')
    vi.setSystemTime(start + 2 * minute)
    expect(await limiter.take(rule, 'ann')).toMatchObject({ allowed: true, remaining: 4 })
  })

  test('counts each identity and each rule separately', async () => {
    const limiter = newLimiter()
    const other: LimitRule = { ...rule, name: 'login' }
    for (let i = 0; i < 6; i++) await limiter.take(rule, 'ann')
    expect((await limiter.take(rule, 'ann')).allowed).toBe(false)
    expect((await limiter.take(rule, 'bob')).remaining).toBe(4)
    expect((await limiter.take(rule, 'ann:1')).remaining).toBe(4)
    expect((await limiter.take(other, 'ann')).remaining).toBe(4)
  })

  test('does not count refused requests', async () => {
    const limiter = newLimiter()
    for (let i = 0; i < 500; i++) await limiter.take(rule, 'ann')
    vi.setSystemTime(start + minute + minute / 2)
    // floor(0.5 * 5) = 2 of five still weigh in. Of 500 there would be no room.
    expect(await limiter.take(rule, 'ann')).toMatchObject({ allowed: true, remaining: 2 })
  })

  test('peeks without counting', async () => {
    const limiter = newLimiter()
    for (let i = 0; i < 20; i++) expect((await limiter.peek(rule, 'ann')).remaining).toBe(5)
    for (let i = 0; i < 5; i++) await limiter.take(rule, 'ann')
    const refused = await limiter.take(rule, 'ann')
    expect(await limiter.peek(rule, 'ann')).toEqual(refused)
    expect(refused.retryAfterMs).toBe(minute + 1)
    expect(refused.resetAt).toBe(start + minute + 1)
  })

  test.each([
    { limit: 0, windowMs: minute },
    { limit: 1.5, windowMs: minute },
    { limit: 5, windowMs: 0 },
    { limit: Number.NaN, windowMs: minute },
  ])('refuses a rule that limits nothing: %o', async (figures) => {
    await expect(newLimiter().take({ name: 'user', ...figures }, 'ann')).rejects.toThrow(RangeError)
  })

  test('decides 20,000 times as the formula', async () => {
    const random = seeded(20261122)
    const rules: LimitRule[] = [
      { name: 'user', limit: 100, windowMs: minute },
      { name: 'anonymous', limit: 7, windowMs: 10_000 },
      { name: 'login', limit: 1, windowMs: 1000 },
      { name: 'username', limit: 13, windowMs: 997 },
    ]
    const limiter = newLimiter()
    const model = naiveModel()
    let refused = 0
    for (const each of rules) {
      const meanGap = (each.windowMs / each.limit) * 0.6
      for (let i = 0; i < 5000; i++) {
        vi.setSystemTime(Date.now() + Math.floor(random() * meanGap))
        const identity = random() < 0.9 ? 'ann' : 'bob'
        const verdict = await limiter.take(each, identity)
        const expected = model(each, identity, Date.now())
        expect({ allowed: verdict.allowed, remaining: verdict.remaining }).toEqual(expected)
        if (!verdict.allowed) refused++
      }
    }
    // Both verdicts must have occurred.
    expect(refused).toBeGreaterThan(2000)
    expect(refused).toBeLessThan(18_000)
  })
})

describe('a refund', () => {
  test('takes one request back, once', async () => {
    const limiter = newLimiter()
    const first = await limiter.take(rule, 'ann')
    await limiter.take(rule, 'ann')
    await limiter.refund(first)
    await limiter.refund(first)
    expect((await limiter.peek(rule, 'ann')).remaining).toBe(4)
  })

  test('goes to the bucket that counted, also in the next window', async () => {
    const limiter = newLimiter()
    const verdicts = []
    for (let i = 0; i < 4; i++) verdicts.push(await limiter.take(rule, 'ann'))
    vi.setSystemTime(start + minute)
    await limiter.take(rule, 'ann')
    expect((await limiter.peek(rule, 'ann')).remaining).toBe(0)
    for (const verdict of verdicts) await limiter.refund(verdict)
    // Only the request of this window is left.
    expect((await limiter.peek(rule, 'ann')).remaining).toBe(4)
  })

  test('does nothing for a refusal and for a peek', async () => {
    const limiter = newLimiter()
    for (let i = 0; i < 5; i++) await limiter.take(rule, 'ann')
    await limiter.refund(await limiter.take(rule, 'ann'))
    await limiter.refund(await limiter.peek(rule, 'ann'))
    expect((await limiter.peek(rule, 'ann')).remaining).toBe(0)
  })

  test('leaves no count below zero, and makes no bucket', async () => {
    const counters = memoryCounters({ maxKeys: 1 })
    const limiter = createLimiter({ counters })
    const evicted = await limiter.take(rule, 'ann')
    await limiter.take(rule, 'bob')
    await limiter.refund(evicted)
    expect(counters.size()).toBe(1)
    expect((await limiter.peek(rule, 'ann')).remaining).toBe(5)
    await counters.decrement(`limit:user:{bob}:${start / minute}`)
    await counters.decrement(`limit:user:{bob}:${start / minute}`)
    expect((await limiter.peek(rule, 'bob')).remaining).toBe(5)
  })
})

describe('the wait after a refusal', () => {
  const history = fc.record({
    limit: fc.integer({ min: 1, max: 30 }),
    windowMs: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1000, max: 86_400_000 })),
    at: fc.integer({ min: 0, max: 2 ** 42 }),
    steps: fc.array(fc.double({ min: 0, max: 0.2, noNaN: true }), { minLength: 1, maxLength: 60 }),
    later: fc.double({ min: 0, max: 3, noNaN: true }),
  })

  test('is exact: refused 1 ms before, allowed from then on', async () => {
    let refusals = 0
    await fc.assert(
      fc.asyncProperty(history, async ({ limit, windowMs, at, steps, later }) => {
        const each: LimitRule = { name: 'user', limit, windowMs }
        const limiter = newLimiter()
        let time = at
        for (const step of steps) {
          time += Math.floor(step * windowMs)
          vi.setSystemTime(time)
          const { allowed, retryAfterMs, resetAt } = await limiter.take(each, 'ann')
          if (allowed) continue
          refusals++
          expect(resetAt).toBe(time + retryAfterMs)
          const allowedAt = async (then: number) => {
            vi.setSystemTime(then)
            return (await limiter.peek(each, 'ann')).allowed
          }
          expect(await allowedAt(resetAt - 1)).toBe(false)
          expect(await allowedAt(resetAt)).toBe(true)
          expect(await allowedAt(time + Math.ceil(retryAfterMs / 1000) * 1000)).toBe(true)
          expect(await allowedAt(resetAt + Math.floor(later * windowMs))).toBe(true)
        }
      }),
      { numRuns: 4000 },
    )
    expect(refusals).toBeGreaterThan(4000)
  })

  test('holds for counts above the limit, as after the limit was lowered', () => {
    const lowered = { limit: 3, windowMs: 1000, elapsedMs: 400 }
    // During the whole next window the 5000 of this one weigh 5 or more.
    expect(msUntilAllowed(lowered, { current: 5000, previous: 0 })).toBe(600 + 1000)
    expect(msUntilAllowed(lowered, { current: 2, previous: 5000 })).toBe(600)
    expect(msUntilAllowed(lowered, { current: 2, previous: 0 })).toBe(0)
  })
})

describe('memory', () => {
  test('stays within its bound under a flood, and keeps the newest buckets', async () => {
    const counters = memoryCounters({ maxKeys: 100 })
    const limiter = createLimiter({ counters })
    for (let i = 0; i < 10_000; i++) {
      vi.setSystemTime(start + i)
      await limiter.take(rule, `address ${i}`)
      expect(counters.size()).toBeLessThanOrEqual(100)
    }
    expect((await limiter.peek(rule, 'address 9999')).remaining).toBe(4)
    expect((await limiter.peek(rule, 'address 9900')).remaining).toBe(4)
    expect((await limiter.peek(rule, 'address 9899')).remaining).toBe(5)
  })

  test('drops expired buckets as new ones come, also behind buckets of longer windows', async () => {
    const counters = memoryCounters()
    const limiter = createLimiter({ counters })
    const long: LimitRule = { name: 'login', limit: 5, windowMs: 86_400_000 }
    for (let i = 0; i < 100; i++) await limiter.take(long, `address ${i}`)
    for (let i = 0; i < 1000; i++) await limiter.take(rule, `address ${i}`)
    expect(counters.size()).toBe(1100)
    vi.setSystemTime(start + 10 * minute)
    for (let i = 0; i < 1100; i++) await limiter.take(rule, `ann${i}`)
    expect(counters.size()).toBe(100 + 1100)
  })
})

describe('with a fallback', () => {
  test('a failing store means limits in this process, logged once', async () => {
    const { limiter, log } = withBrokenStore(async () => {
      throw new Error('connect ECONNREFUSED')
    })
    const burst = []
    for (let i = 0; i < 8; i++) burst.push((await limiter.take(rule, 'ann')).allowed)
    expect(burst).toEqual([true, true, true, true, true, false, false, false])
    expect(log.warn).toHaveBeenCalledTimes(1)
    expect(log.warn).toHaveBeenCalledWith(
      expect.stringContaining('lost'),
      expect.objectContaining({ error: 'connect ECONNREFUSED' }),
    )
  })

  test('a store that hangs costs one wait, then none until the next attempt', async () => {
    const { limiter, asked } = withBrokenStore(() => new Promise(() => {}))
    const first = limiter.take(rule, 'ann')
    await vi.advanceTimersByTimeAsync(1000)
    expect(await first).toMatchObject({ allowed: true, remaining: 4 })
    expect(await limiter.take(rule, 'ann')).toMatchObject({ remaining: 3 })
    expect(asked()).toBe(1)

    await vi.advanceTimersByTimeAsync(2000)
    const trying = limiter.take(rule, 'ann')
    // Only one request tries. Others are answered at once.
    expect((await limiter.take(rule, 'ann')).remaining).toBe(2)
    await vi.advanceTimersByTimeAsync(1000)
    expect((await trying).remaining).toBe(1)
    expect(asked()).toBe(2)
  })

  test('a store that is back decides again', async () => {
    const store = memoryCounters()
    let broken = true
    const { limiter, log, asked } = withBrokenStore(async (...call) => {
      if (broken) throw new Error('connect ECONNREFUSED')
      return store.take(...call)
    }, store)
    for (let i = 0; i < 5; i++) await limiter.take(rule, 'ann')
    broken = false
    expect((await limiter.take(rule, 'ann')).allowed).toBe(false)
    await vi.advanceTimersByTimeAsync(2000)
    expect(log.info).not.toHaveBeenCalled()
    // The store has counted no request yet.
    expect(await limiter.take(rule, 'ann')).toMatchObject({ allowed: true, remaining: 4 })
    expect(log.info).toHaveBeenCalledTimes(1)
    expect(await limiter.peek(rule, 'ann')).toMatchObject({ remaining: 4 })
    expect(asked()).toBe(3)
    expect(log.info).toHaveBeenCalledTimes(1)
  })

  test('a refund goes to the store or the memory that counted', async () => {
    const store = memoryCounters()
    let broken = false
    const { limiter } = withBrokenStore(async (...call) => {
      if (broken) throw new Error('connect ECONNREFUSED')
      return store.take(...call)
    }, store)
    const inStore = await limiter.take(rule, 'ann')
    broken = true
    const inMemory = await limiter.take(rule, 'ann')
    await limiter.refund(inStore)
    expect((await limiter.peek(rule, 'ann')).remaining).toBe(4)
    await limiter.refund(inMemory)
    expect((await limiter.peek(rule, 'ann')).remaining).toBe(5)
    broken = false
    await vi.advanceTimersByTimeAsync(2000)
    // A lost store is not asked, so its count stays.
    expect((await limiter.peek(rule, 'ann')).remaining).toBe(4)
    await limiter.refund(inStore)
    expect((await limiter.peek(rule, 'ann')).remaining).toBe(5)
  })

  test('a store that fails at a refund fails no request', async () => {
    const store = memoryCounters()
    const failing: Counters = { ...store, decrement: () => Promise.reject(new Error('connection reset')) }
    const log = { info: vi.fn(), warn: vi.fn() }
    const limiter = fallingBack(failing, log)
    await limiter.refund(await limiter.take(rule, 'ann'))
    expect(log.warn).toHaveBeenCalledTimes(1)
  })
})

function withBrokenStore(take: Counters['take'], store: Counters = memoryCounters()) {
  const log = { info: vi.fn(), warn: vi.fn() }
  const questions = { take: vi.fn(take), counts: vi.fn(store.counts) }
  const limiter = fallingBack({ ...store, ...questions }, log)
  const asked = () => questions.take.mock.calls.length + questions.counts.mock.calls.length
  return { limiter, log, asked }
}

function fallingBack(counters: Counters, log: { info: () => void; warn: () => void }) {
  const primary = createLimiter({ counters })
  return withFallback({ primary, memory: newLimiter(), guard: createGuard({ log }) })
}

/** The contract's formula over a list of the times that were counted: no buckets, no keys, no expiry. */
function naiveModel() {
  const counted = new Map<string, number[]>()
  return ({ name, limit, windowMs }: LimitRule, identity: string, now: number) => {
    const id = JSON.stringify([name, identity])
    const times = counted.get(id) ?? []
    const windowStart = now - (now % windowMs)
    const between = (from: number, to: number) => times.filter((time) => time >= from && time < to).length
    const previous = between(windowStart - windowMs, windowStart)
    const current = between(windowStart, windowStart + windowMs)
    const weighed = Math.floor((1 - (now - windowStart) / windowMs) * previous) + current
    if (weighed >= limit) return { allowed: false, remaining: 0 }
    counted.set(id, [...times, now].slice(-500))
    return { allowed: true, remaining: limit - weighed - 1 }
  }
}
