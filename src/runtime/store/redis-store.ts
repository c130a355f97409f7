/** The store over a Redis, whichever way its commands travel. */
import type { Counters, Store } from '../../store/store.ts'
import { stockHash, stockScript } from './limiter-scripts.ts'

/**
 * Commands that are given in one turn of the event loop travel together, in order: a client pipelines them. Values come as
 * text, numbers as numbers or as text, what is absent as null.
 */
export type RedisCommands = {
  evalsha(sha: string, keys: string[], args: string[]): Promise<unknown>
  eval(script: string, keys: string[], args: string[]): Promise<unknown>
  mget(keys: string[]): Promise<unknown[]>
  set(key: string, value: string, ttlMs: number): Promise<unknown>
}

/** Of ours; `sha` is the SHA-1 of `text`, written down since only some runtimes can make one without waiting. */
export const scripts = {
  decrement: {
    text: "local count = tonumber(redis.call('get', KEYS[1]) or '0') if count > 0 then redis.call('decr', KEYS[1]) end",
    sha: '2864619810104f8b362b4b34632582285ce05dfe',
  },
  look: {
    text: "redis.call('set', KEYS[1], ARGV[1], 'nx', 'px', ARGV[2]) return redis.call('mget', KEYS[1], KEYS[2])",
    sha: 'cca1c82d9dda237a7442a42c36715812ae90d77a',
  },
}

/** `prefix` begins every key, so that several services can share a Redis. */
export function redisStore(commands: RedisCommands, prefix: string): Store {
  const named = (keys: string[]) => keys.map((key) => prefix + key)

  /** A script that the server does not have yet is sent once, and known by its hash from then on. */
  async function run({ text, sha }: { text: string; sha: string }, keys: string[], args: string[]) {
    try {
      return await commands.evalsha(sha, named(keys), args)
    } catch (error) {
      if (!String(error).includes('NOSCRIPT')) throw error
      return commands.eval(text, named(keys), args)
    }
  }

  const counters: Counters = {
    evalsha: (sha, keys, args) => commands.evalsha(stockHash(sha), named(keys), args.map(String)),
    eval: (script, keys, args) => commands.eval(stockScript(script), named(keys), args.map(String)),
    mget: async (keys) =>
      (await commands.mget(named(keys))).map((count) => (count === null ? null : Number(count))),
    decrement: async (key) => {
      await run(scripts.decrement, [key], [])
    },
  }

  return {
    counters,
    texts: {
      async look({ key: stampKey, value, ttlMs }, key) {
        const answer = await run(scripts.look, [stampKey, key], [value, String(ttlMs)])
        const [stamp, text] = answer as [string, string | null]
        return { stamp, text }
      },
      put: async (entries) => {
        await Promise.all(entries.map(({ key, value, ttlMs }) => commands.set(prefix + key, value, ttlMs)))
      },
    },
    ping: async () => {
      // A write: a server that has become a replica answers PING as ever.
      await commands.set(`${prefix}ping`, '1', 1000)
    },
  }
}
