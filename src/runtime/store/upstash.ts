/** Upstash's Redis by REST, through its own client. It needs only fetch, and so runs on every runtime. */
import { Redis } from '@upstash/redis/cloudflare'
import { readingBeside } from '../../store/limiter.ts'
import type { Store } from '../../store/store.ts'
import { type RedisCommands, redisStore } from './redis-store.ts'
import { upstashLimiter } from './upstash-limiter.ts'

type Options = { url: string; token: string; prefix: string }

/** Longer than any caller waits; it frees the connection of a call without an answer. */
const timeoutMs = 1500

/**
 * On Workers make one for each request: commands of one turn share a call, which belongs to one request
 * there. So do a count and a look-up.
 */
export function upstashStore(options: Options): Store {
  const commands = upstashCommands(options)
  const { limiter, ...store } = redisStore(commands, options.prefix)
  const deciding = upstashLimiter(limiter.counters, commands, options.prefix)
  return { ...store, limiter: readingBeside(deciding, store.entries) }
}

function upstashCommands({ url, token }: Options): RedisCommands {
  const client = new Redis({
    url,
    token,
    // The default of five takes seconds to give up, and could put an old cache version back over a newer one.
    retry: { retries: 0 },
    // A new signal for each call. The client would answer an aborted shared one as if it were a result.
    signal: () => AbortSignal.timeout(timeoutMs),
    enableAutoPipelining: true,
    // Text stays text.
    automaticDeserialization: false,
    enableTelemetry: false,
    latencyLogging: false,
  })
  return {
    evalsha: (sha, keys, args) => client.evalsha(sha, keys, args),
    eval: (text, keys, args) => client.eval(text, keys, args),
    mget: (keys) => client.mget(keys),
    set: (key, value, ttlMs) => client.set(key, value, { px: ttlMs }),
  }
}
