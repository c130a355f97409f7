/** The store over a Redis, whichever way its commands travel. */
import type { Counters, Store } from '../../store/store.ts'
import { stockHash, stockScript } from './limiter-scripts.ts'

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
  getWithVersion: {
    text: "redis.call('set', KEYS[1], ARGV[1], 'nx', 'px', ARGV[2]) return redis.call('mget', KEYS[1], KEYS[2])",
    sha: 'cca1c82d9dda237a7442a42c36715812ae90d77a',
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
    evalsha: (sha, keys, args) => commands.evalsha(stockHash(sha), prefixed(keys), args.map(String)),
    eval: (script, keys, args) => commands.eval(stockScript(script), prefixed(keys), args.map(String)),
    mget: async (keys) =>
      (await commands.mget(prefixed(keys))).map((count) => (count === null ? null : Number(count))),
    decrement: async (key) => {
      await run(scripts.decrement, [key], [])
    },
  }

  return {
    counters,
    entries: {
      async getWithVersion(fresh, key) {
        const answer = await run(scripts.getWithVersion, [fresh.key, key], [fresh.value, String(fresh.ttlMs)])
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
