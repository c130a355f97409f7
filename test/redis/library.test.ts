/** The limiter decides as @upstash/ratelimit does, question for question, and can share its counters. */
import { Ratelimit } from '@upstash/ratelimit'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { createLogger } from '../../src/core/log.ts'
import { memoryCounters } from '../../src/runtime/store/memory-counters.ts'
import { connectRedis } from '../../src/runtime/store/redis.ts'
import { type RedisCommands, redisStore } from '../../src/runtime/store/redis-store.ts'
import { stockScript, upstashLimiter } from '../../src/runtime/store/upstash-limiter.ts'
import {
  type CountingLimiter,
  createLimiter,
  type LimitRule,
  tagged,
  type Verdict,
  withFallback,
} from '../../src/store/limiter.ts'
import { createGuard } from '../../src/store/store.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'

let redis: TestRedis
let commands: RedisCommands & { close(): Promise<void> }

beforeAll(async () => {
  redis = await startTestRedis()
  commands = await connectRedis(redis.url, createLogger('silent'))
})
afterAll(async () => {
  await commands?.close()
  await redis?.stop()
})
beforeEach(() => {
  // Only the date, since sockets need timers.
  vi.useFakeTimers({ toFake: ['Date'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const ours = (prefix: string) => redisStore(commands, prefix).limiter
const libraryOver = (prefix: string) => upstashLimiter(ours(prefix).counters, commands, prefix)

/** The library as its documentation has it, but for the first line of its scripts: see stockScript. */
function bareLibrary({ name, limit, windowMs }: LimitRule, prefix: string) {
  const client = {
    evalsha: async () => {
      throw new Error('NOSCRIPT')
    },
    eval: (script: string, keys: string[], args: unknown[]) =>
      commands.eval(stockScript(script), keys, args.map(String)),
  }
  return new Ratelimit({
    redis: client as unknown as ConstructorParameters<typeof Ratelimit>[0]['redis'],
    limiter: Ratelimit.slidingWindow(limit, `${windowMs} ms`),
    prefix: `${prefix}limit:${name}`,
    ephemeralCache: false,
    timeout: 0,
    enableTelemetry: false,
  })
}

const history = fc.record({
  limit: fc.integer({ min: 1, max: 12 }),
  // Redis expires keys by its own clock, after 2 windows and a second: no run takes that long.
  windowMs: fc.oneof(fc.integer({ min: 10_000, max: 10_050 }), fc.integer({ min: 10_000, max: 86_400_000 })),
  at: fc.integer({ min: 2 ** 33, max: 2 ** 42 }),
  steps: fc.array(
    fc.record({
      act: fc.constantFrom('take', 'take', 'take', 'take', 'peek', 'refund'),
      who: fc.constantFrom('ann', 'ann', 'ann', '{odd}'),
      // In windows; or to the first or last millisecond of one.
      pause: fc.oneof(
        { weight: 5, arbitrary: fc.double({ min: 0, max: 0.1, noNaN: true }) },
        fc.double({ min: 0, max: 2.5, noNaN: true }),
        fc.constantFrom('first', 'last'),
      ),
      from: fc.nat(),
    }),
    { minLength: 10, maxLength: 60 },
  ),
})

function timeAfter(now: number, windowMs: number, pause: number | string): number {
  if (typeof pause === 'number') return now + Math.floor(pause * windowMs)
  const next = (Math.floor(now / windowMs) + 1) * windowMs
  return pause === 'first' ? next : next + windowMs - 1
}

test('over any history, in Redis, in memory, and with the library counting in the same Redis', async () => {
  let turn = 0
  const seen = { allowed: 0, refused: 0, refunded: 0 }
  await fc.assert(
    fc.asyncProperty(history, async ({ limit, windowMs, at, steps }) => {
      const rule: LimitRule = { name: 'user', limit, windowMs }
      const id = `run ${turn++} `
      const shared = [ours('shared:'), libraryOver('shared:')] as const
      const limiters: CountingLimiter[] = [
        libraryOver('library:'),
        ours('ours:'),
        createLimiter({ counters: memoryCounters() }),
      ]
      const library = bareLibrary(rule, 'library:')
      const history: Verdict[][] = []
      let now = at
      for (const [index, { act, who, pause, from }] of steps.entries()) {
        now = timeAfter(now, windowMs, pause)
        vi.setSystemTime(now)
        // The two that share counters take turns.
        const all = [...limiters, shared[index % 2 === 0 ? 0 : 1]]
        if (act === 'refund') {
          const earlier = history[from % history.length] ?? []
          await Promise.all(earlier.map((verdict, i) => all[i]?.refund(verdict)))
          seen.refunded += earlier.length
          continue
        }
        const verdicts = await Promise.all(all.map((limiter) => limiter[act](rule, id + who)))
        const shown = verdicts.map((verdict) => ({ ...verdict, counted: verdict.counted?.key }))
        for (const each of shown) expect(each).toEqual(shown[0])
        const left = await library.getRemaining(tagged(id + who))
        const last = verdicts[0]
        expect(left.remaining).toBe(last?.remaining)
        if (last?.allowed) expect(left.reset).toBe(last.resetAt)
        seen[last?.allowed ? 'allowed' : 'refused']++
        history.push(verdicts)
      }
    }),
    { numRuns: 1000 },
  )
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(300)
}, 300_000)

test('a store that fails after a refusal of the library answers from memory', async () => {
  const rule: LimitRule = { name: 'user', limit: 2, windowMs: 60_000 }
  const counters = { ...ours('failing:').counters, counts: () => Promise.reject(new Error('reset')) }
  const limiter = withFallback({
    primary: upstashLimiter(counters, commands, 'failing:'),
    memory: createLimiter({ counters: memoryCounters() }),
    guard: createGuard({ log: createLogger('silent') }),
  })
  for (const remaining of [1, 0, 1]) {
    expect(await limiter.take(rule, 'ann')).toMatchObject({ allowed: true, remaining })
  }
})
