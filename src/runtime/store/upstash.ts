/** Upstash's Redis by REST, through its own client; needs fetch and nothing else, so that it serves every runtime. */
import { Redis } from '@upstash/redis/cloudflare'
import type { RedisCommands } from './redis-store.ts'

/** Longer than anybody waits: a call without an answer does not keep its connection for ever. */
const timeoutMs = 1500

/** At the edge to be made for each request: commands of one turn share a call, which belongs to one request there. */
export function upstashCommands({ url, token }: { url: string; token: string }): RedisCommands {
  const client = new Redis({
    url,
    token,
    // By default five: that takes seconds to give up, and what was done but not answered would be done again, a stamp
    // put back over a newer one.
    retry: { retries: 0 },
    // For each call anew; one for all would be answered as if it were a result.
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
