/** Upstash's Redis by REST, through its own client. It needs only fetch, and so runs on every runtime. */
import { Redis } from '@upstash/redis/cloudflare'
import type { RedisCommands } from './redis-store.ts'

/** Longer than any caller waits; it frees the connection of a call without an answer. */
const timeoutMs = 1500

/**
 * On Workers make one for each request: commands of one turn share a call, which belongs to one request
 * there.
 */
export function upstashCommands({ url, token }: { url: string; token: string }): RedisCommands {
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
