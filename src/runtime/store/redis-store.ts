/** The store over a Redis, whichever way its commands travel. */
import { createLimiter } from '../../store/limiter.ts'
import type { Counters, Store } from '../../store/store.ts'

/**
 * Commands of one turn of the event loop travel together, in order, since clients pipeline them. Values are
 * text, numbers come as numbers or text, absent values as null.
 */
export type RedisCommands = {
  evalsha(sha: string, keys: string[], args: string[]): Promise<unknown>
  eval(script: string, keys: string[], args: string[]): Promise<unknown>
  mget(keys: string[]): Promise<unknown[]>
  set(key: string, value: string, ttlMs: number): Promise<unknown>
}

/** `sha` is the SHA-1 of `text`, written down since not every runtime can compute one synchronously. */
export const scripts = {
  decrement: {
    text: "local count = tonumber(redis.call('get', KEYS[1]) or '0') if count > 0 then redis.call('decr', KEYS[1]) end",
    sha: '2864619810104f8b362b4b34632582285ce05dfe',
  },
  read: {
    text: "redis.call('set', KEYS[1], ARGV[1], 'nx', 'px', ARGV[2]) return redis.call('mget', KEYS[1], KEYS[2])",
    sha: 'cca1c82d9dda237a7442a42c36715812ae90d77a',
  },
  // KEYS bucket, previous bucket[, version, entry]; ARGV limit, window, ms elapsed[, fresh version, its ms].
  take: {
    text: `
local counts = redis.call('mget', KEYS[1], KEYS[2])
local current, previous = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
local window = tonumber(ARGV[2])
if math.floor((1 - ARGV[3] / window) * previous) + current >= tonumber(ARGV[1]) then
  return {0, current, previous}
end
current = redis.call('incrby', KEYS[1], 1)
if current == 1 then redis.call('pexpire', KEYS[1], window * 2 + 1000) end
if not KEYS[3] then return {1, current, previous} end
local kept = redis.call('mget', KEYS[3], KEYS[4])
if not kept[1] then
  redis.call('set', KEYS[3], ARGV[4], 'px', ARGV[5])
  kept[1] = ARGV[4]
end
return {1, current, previous, kept[1], kept[2]}`,
    sha: '94ef3216c5dbb1c6ea8a5708b4cb55511b9d1e68',
  },
}

/** `prefix` begins every key, so that several services can share a Redis. */
export function redisStore(commands: RedisCommands, prefix: string): Store {
  const prefixed = (keys: string[]) => keys.map((key) => prefix + key)

  /** Sends the script's text once, when the server does not know it yet. */
  async function run({ text, sha }: { text: string; sha: string }, keys: string[], args: string[]) {
    try {
      return await commands.evalsha(sha, prefixed(keys), args)
    } catch (error) {
      if (!String(error).includes('NOSCRIPT')) throw error
      return commands.eval(text, prefixed(keys), args)
    }
  }

  const counters: Counters = {
    async take({ key, previousKey, limit, windowMs, elapsedMs }, reading) {
      const keys = [key, previousKey]
      const args = [String(limit), String(windowMs), String(elapsedMs)]
      if (reading) {
        keys.push(reading.fresh.key, reading.key)
        args.push(reading.fresh.value, String(reading.fresh.ttlMs))
      }
      const answer = (await run(scripts.take, keys, args)) as [1 | 0, number, number, string?, string?]
      const [isAllowed, current, previous, version, text = null] = answer
      const kept = version === undefined ? undefined : { version, text }
      return { allowed: isAllowed === 1, current, previous, kept }
    },
    async counts({ key, previousKey }) {
      const [current, previous] = await commands.mget(prefixed([key, previousKey]))
      return { current: Number(current), previous: Number(previous) }
    },
    decrement: async (key) => {
      await run(scripts.decrement, [key], [])
    },
  }

  return {
    limiter: createLimiter({ counters }),
    entries: {
      async read({ fresh, key }) {
        const answer = await run(scripts.read, [fresh.key, key], [fresh.value, String(fresh.ttlMs)])
        const [version, text] = answer as [string, string | null]
        return { version, text }
      },
      set: async (entries) => {
        await Promise.all(entries.map(({ key, value, ttlMs }) => commands.set(prefix + key, value, ttlMs)))
      },
    },
    ping: async () => {
      // A write, since a server that has become a replica still answers PING.
      await commands.set(`${prefix}ping`, '1', 1000)
    },
  }
}
