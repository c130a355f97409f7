/** The limiter at Upstash: `@upstash/ratelimit` decides, over its own scripts. */
import { Ratelimit } from '@upstash/ratelimit'
import type { Redis } from '@upstash/redis'
import {
  allowed,
  type CountingLimiter,
  createLimiter,
  type LimitRule,
  prefixOf,
  refused,
  tagged,
  windowAt,
} from '../../store/limiter.ts'
import type { Counters } from '../../store/store.ts'
import type { RedisCommands } from './redis-store.ts'

type Scripting = Pick<RedisCommands, 'evalsha' | 'eval'>

/** The library reads `Date.now()` and no other clock. `prefix` begins every key, those of `counters` too. */
export function upstashLimiter(counters: Counters, commands: Scripting, prefix: string): CountingLimiter {
  const windows = new WeakMap<LimitRule, Ratelimit>()

  function windowOf(rule: LimitRule): Ratelimit {
    const known = windows.get(rule)
    if (known) return known
    const made = slidingWindow(rule, commands, prefix)
    windows.set(rule, made)
    return made
  }

  return {
    ...createLimiter({ counters }),
    async take(rule, identity) {
      const { success, remaining, reset } = await windowOf(rule).limit(tagged(identity))
      if (!success) {
        // The library returns neither count, and its `reset` is too early for a retry.
        const window = windowAt(rule, identity, Date.now())
        return refused(rule, window, await counters.counts(window))
      }
      const window = windowAt(rule, identity, reset - 1)
      return allowed(rule, window, remaining, { counters, key: window.key, isRefunded: false })
    },
  }
}

function slidingWindow({ name, limit, windowMs }: LimitRule, commands: Scripting, prefix: string): Ratelimit {
  // With the options below the library calls only these two of the client.
  const redis: Record<'evalsha' | 'eval', (script: string, keys: string[], args: unknown[]) => unknown> = {
    evalsha: (sha, keys, args) =>
      commands.evalsha(sha === limitScript.published ? limitScript.stock : sha, keys, args.map(String)),
    eval: (script, keys, args) => commands.eval(stockScript(script), keys, args.map(String)),
  }
  return new Ratelimit({
    redis: redis as unknown as Redis,
    limiter: Ratelimit.slidingWindow(limit, `${windowMs} ms`),
    prefix: prefix + prefixOf(name),
    // It would block until `reset`, which is later than the window requires.
    ephemeralCache: false,
    // It would allow everything when the store is slow. The guard has the time-out.
    timeout: 0,
    analytics: false,
    enableTelemetry: false,
  })
}

/**
 * The script of `@upstash/ratelimit` 2.2.0 that takes, by SHA-1. It begins with a line that only Upstash's own
 * servers accept (`#!lua flags=allow-key-locking`). A stock Redis behind the same protocol needs it without
 * the line, under another hash.
 */
export const limitScript = {
  published: '74740bb3d7792848093cdef586b6b6037c455fd6',
  stock: '433177fc5bbe571478bf6dff0c2bdc6e3d0a69be',
}
export const stockScript = (script: string) => script.replace(/^#!lua[^\n]*\n/, '')
