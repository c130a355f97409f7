/** Memory, Redis by TCP and Upstash by REST decide and answer alike. */
import { createHash } from 'node:crypto'
import { Ratelimit } from '@upstash/ratelimit'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Caller } from '../../src/auth/caller.ts'
import { createLogger } from '../../src/core/log.ts'
import { memoryCounters } from '../../src/runtime/store/memory-counters.ts'
import { memoryEntries } from '../../src/runtime/store/memory-entries.ts'
import { connectRedis } from '../../src/runtime/store/redis.ts'
import { redisStore, scripts } from '../../src/runtime/store/redis-store.ts'
import { upstashStore } from '../../src/runtime/store/upstash.ts'
import { limitScript, stockScript } from '../../src/runtime/store/upstash-limiter.ts'
import { type Cache, createCache } from '../../src/store/cache.ts'
import { createLimiter, type LimitRule, readingBeside, windowAt } from '../../src/store/limiter.ts'
import type { Store } from '../../src/store/store.ts'
import { seeded } from '../support/random.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { startTcpSwitch } from '../support/tcp-switch.ts'
import { startUpstashFront, type UpstashFront } from '../support/upstash-front.ts'

let redis: TestRedis
let cluster: TestRedis
let front: UpstashFront
const stores: Record<string, Store> = {}
const closing: (() => unknown)[] = []
const silent = createLogger('silent')

beforeAll(async () => {
  redis = await startTestRedis()
  cluster = await startTestRedis('--cluster-enabled', 'yes')
  await cluster.ask(['CLUSTER', 'ADDSLOTSRANGE', '0', '16383'])
  await vi.waitFor(
    async () => expect(await cluster.ask(['CLUSTER', 'INFO'])).toContain('cluster_state:ok'),
    30_000,
  )
  front = await startUpstashFront(redis.url)
  const tcp = await connectRedis(redis.url, silent)
  const clustered = await connectRedis(cluster.url, silent)
  closing.push(tcp.close, clustered.close, front.close, redis.stop, cluster.stop)
  const entries = memoryEntries()
  const limiter = readingBeside(createLimiter({ counters: memoryCounters() }), entries)
  stores.memory = { limiter, entries, ping: async () => {} }
  stores.redis = redisStore(tcp, 'tcp:')
  // One node that has every slot still refuses a script or a command whose keys are of different slots.
  stores.cluster = redisStore(clustered, 'cluster:')
  stores.upstash = upstashStore({ ...front, prefix: 'rest:' })
})
afterAll(async () => {
  for (const close of closing) await close()
})

const unguarded = { ask: <T>(question: () => Promise<T>) => question() }

const named = (name: string): Store => {
  const store = stores[name]
  if (!store) throw new Error(`no store ${name}`)
  return store
}

const rules: LimitRule[] = [
  { name: 'user', limit: 100, windowMs: 60_000 },
  { name: 'anonymous', limit: 7, windowMs: 10_000 },
  { name: 'login', limit: 1, windowMs: 1000 },
  { name: 'username', limit: 13, windowMs: 997 },
]

describe('on one clock', () => {
  beforeEach(() => {
    // Only the date, since sockets need timers.
    vi.useFakeTimers({ toFake: ['Date'], now: Math.floor(Date.now() / 60_000) * 60_000 })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  test.each(['memory', 'redis', 'cluster', 'upstash'])(
    '%s counts any identity, each by itself',
    async (name) => {
      const { limiter } = named(name)
      const each: LimitRule = { name: 'username', limit: 1, windowMs: 3_600_000 }
      const odd = '{ } {} }{ {a}b % %25 {%} : \n \0 * é 🙂'.split(' ')
      for (const identity of ['', ' ', 'a'.repeat(10_000), ...odd]) {
        const taken = await limiter.take(each, identity)
        expect([identity, taken.allowed]).toEqual([identity, true])
        // A refusal reads both buckets, too.
        expect((await limiter.take(each, identity)).allowed).toBe(false)
        expect((await limiter.peek(each, identity)).allowed).toBe(false)
        await limiter.refund(taken)
        expect((await limiter.take(each, identity)).allowed).toBe(true)
      }
    },
  )

  test('all decide alike 20,000 times: allowed, remaining, time of the next attempt', async () => {
    const random = seeded(20261124)
    const names = ['memory', 'redis', 'upstash']
    const limiters = names.map((name) => named(name).limiter)
    let refused = 0
    for (const rule of rules) {
      const meanGap = (rule.windowMs / rule.limit) * 0.6
      for (let i = 0; i < 5000; i++) {
        vi.setSystemTime(Date.now() + Math.floor(random() * meanGap))
        const identity = random() < 0.9 ? 'ann' : 'bob'
        const act = random()
        const verdicts = await Promise.all(
          limiters.map(async (limiter) => {
            const verdict = await limiter[act < 0.95 ? 'take' : 'peek'](rule, identity)
            if (act < 0.05) await limiter.refund(verdict)
            return { ...verdict, counted: verdict.counted?.key }
          }),
        )
        const [first] = verdicts
        for (const verdict of verdicts) expect(verdict, `${rule.name} ${i}`).toEqual(first)
        if (!first?.allowed) refused++
      }
    }
    expect(refused).toBeGreaterThan(2000)
    expect(refused).toBeLessThan(18_000)
  }, 300_000)
})

describe.each(['memory', 'redis', 'cluster', 'upstash'])('%s', (name) => {
  const rule: LimitRule = { name: 'user', limit: 5, windowMs: 3_600_000 }
  const someone = () => crypto.randomUUID()

  test('allows exactly the limit of a burst', async () => {
    const { limiter } = named(name)
    // A client may log in with a name that has braces, which mark the slot in keys of a cluster.
    const identity = `}{ ${someone()}`
    const burst = await Promise.all(Array.from({ length: 25 }, () => limiter.take(rule, identity)))
    expect(burst.filter(({ allowed }) => allowed)).toHaveLength(5)
    const [counted] = burst.filter(({ allowed }) => allowed)
    if (!counted) throw new Error('none was allowed')
    await limiter.refund(counted)
    await limiter.refund(counted)
    expect((await limiter.peek(rule, identity)).remaining).toBe(1)
  })

  test('refunds no more than was counted', async () => {
    const { counters } = named(name).limiter
    const window = windowAt(rule, someone(), Date.now())
    await counters.decrement(window.key)
    expect(await counters.counts(window)).toEqual({ current: 0, previous: 0 })
    expect((await counters.take(window)).current).toBe(1)
  })

  test('keeps the first version of a user, and returns entries that were set', async () => {
    const { entries } = named(name)
    const tag = someone()
    const get = (value: string) =>
      entries.read({ fresh: { key: `{${tag}}`, value, ttlMs: 60_000 }, key: `{${tag}}:list` })
    expect(await get('one')).toEqual({ version: 'one', text: null })
    expect(await get('two')).toEqual({ version: 'one', text: null })
    const text = 'line\n"É", \u0000 and 🙂'
    await entries.set([
      { key: `{${tag}}:list`, value: text, ttlMs: 60_000 },
      { key: `{${someone()}}`, value: 'of another slot', ttlMs: 60_000 },
    ])
    expect(await get('three')).toEqual({ version: 'one', text })
    await entries.set([{ key: `{${tag}}`, value: 'four', ttlMs: 60_000 }])
    expect(await get('five')).toEqual({ version: 'four', text })
  })

  test('drops expired entries', async () => {
    const { entries } = named(name)
    const tag = someone()
    await entries.set([{ key: `{${tag}}:list`, value: 'soon gone', ttlMs: 20 }])
    const fresh = { key: `{${tag}}`, value: 'one', ttlMs: 60_000 }
    const get = () => entries.read({ fresh, key: `{${tag}}:list` })
    await vi.waitFor(async () => expect((await get()).text).toBeNull(), 60_000)
  })

  test('finds a cached answer for its own session only, until the user is invalidated', async () => {
    const cache = createCache({ entries: named(name).entries, guard: unguarded })
    const lookUp = lookUpIn(named(name), cache)
    const caller = { userId: Math.floor(Math.random() * 2 ** 40), sessionId: 7 }
    const missed = await lookUp(caller, '/api/tasks?')
    expect(missed.outcome).toBe('uri-miss')
    await cache.store(missed, { head: 'a head', body: '{"a":\n1}' })
    expect((await lookUp(caller, '/api/tasks?')).found).toMatchObject({
      head: 'a head',
      body: '{"a":\n1}',
    })
    expect((await lookUp({ ...caller, sessionId: 8 }, '/api/tasks?')).outcome).toBe('uri-miss')
    expect((await lookUp(caller, '/api/tasks?limit=1')).outcome).toBe('uri-miss')
    await cache.invalidate([caller.userId])
    const stale = await lookUp(caller, '/api/tasks?')
    expect(stale.outcome).toBe('stale')
    // A write between look-up and storing makes the stored answer stale.
    await cache.invalidate([caller.userId])
    await cache.store(stale, { head: '', body: 'old' })
    expect((await lookUp(caller, '/api/tasks?')).outcome).toBe('stale')
  })

  test('a refused request reads nothing', async () => {
    const { limiter, entries } = named(name)
    const userId = Math.floor(Math.random() * 2 ** 40)
    const cache = createCache({ entries, guard: unguarded })
    const once: LimitRule = { ...rule, limit: 1 }
    const verdicts = [1, 2].map(async () =>
      limiter.take(once, String(userId), await cache.ask({ userId, sessionId: 1 }, '/')),
    )
    expect(await Promise.all(verdicts)).toMatchObject([
      { allowed: true, kept: { version: expect.any(String), text: null } },
      { allowed: false, kept: undefined },
    ])
  })
})

/** As a request does it: with the count of a limit that is not reached. */
function lookUpIn({ limiter }: Store, cache: Cache) {
  const rule: LimitRule = { name: 'user', limit: 1000, windowMs: 60_000 }
  return async (caller: Caller, representation: string) => {
    const question = await cache.ask(caller, representation)
    const { kept } = await limiter.take(rule, String(caller.userId), question)
    return cache.lookUp(question, kept)
  }
}

test('a count and a look-up are one call to Upstash, and one command to Redis', async () => {
  const caller = { userId: 4711, sessionId: 1 }
  const store = upstashStore({ ...front, prefix: 'rest:' })
  const restLookUp = lookUpIn(store, createCache({ entries: store.entries, guard: unguarded }))
  // The first may have to send the scripts themselves.
  await restLookUp(caller, '/')
  const before = front.calls.length
  await restLookUp(caller, '/')
  expect(front.calls.slice(before).map((call) => call.map(([command]) => command))).toEqual([
    ['evalsha', 'evalsha'],
  ])

  const { limiter, entries } = named('redis')
  const lookUp = lookUpIn({ ...named('redis'), limiter }, createCache({ entries, guard: unguarded }))
  await lookUp(caller, '/')
  await redis.ask(['CONFIG', 'RESETSTAT'])
  await lookUp(caller, '/')
  const stats = String(await redis.ask(['INFO', 'commandstats']))
  expect(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1]).toBe('1')
  expect(stats).not.toContain('cmdstat_eval:')
})

test('a server that has become a replica is left for the server at the address now', async () => {
  const [first, second] = [await startTestRedis(), await startTestRedis()]
  const address = await startTcpSwitch(first.port)
  closing.push(first.stop, second.stop, address.close)
  const commands = await connectRedis(`redis://127.0.0.1:${address.port}`, silent)
  closing.push(commands.close)
  const store = redisStore(commands, 'failover:')
  await store.ping()
  address.leadTo(second.port)
  await first.ask(['REPLICAOF', '127.0.0.1', String(second.port)])
  await expect(store.ping()).rejects.toThrow(/^READONLY/)
  await vi.waitFor(
    async () => {
      await store.entries.set([{ key: 'here', value: 'now', ttlMs: 60_000 }])
      expect(await second.ask(['GET', 'failover:here'])).toBe('now')
    },
    { timeout: 30_000, interval: 100 },
  )
})

test('the written hashes are those of the scripts', async () => {
  const sha = (text: string) => createHash('sha1').update(text).digest('hex')
  for (const { text, sha: written } of Object.values(scripts)) expect(sha(text)).toBe(written)
  const published = await publishedScript()
  expect(sha(published)).toBe(limitScript.published)
  expect(sha(stockScript(published))).toBe(limitScript.stock)
})

/** The text that the library sends when a server does not know its hash. */
function publishedScript() {
  return new Promise<string>((resolve) => {
    const redis = {
      evalsha: async () => {
        throw new Error('NOSCRIPT')
      },
      eval: async (script: string) => {
        resolve(script)
        return [1, 1]
      },
    }
    const limiter = new Ratelimit({
      redis: redis as unknown as ConstructorParameters<typeof Ratelimit>[0]['redis'],
      limiter: Ratelimit.slidingWindow(1, '1 s'),
      ephemeralCache: false,
      timeout: 0,
      enableTelemetry: false,
    })
    void limiter.limit('ann')
  })
}
