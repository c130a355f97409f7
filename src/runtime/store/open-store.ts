/** Opens the store of a Node process: the one that the settings name, or its memory. */
import type { Config } from '../../config/api.ts'
import type { Logger } from '../../core/log.ts'
import { createLimiter } from '../../store/limiter.ts'
import { timerForAll } from '../../store/time-limit.ts'
import type { Stack } from '../process/shutdown.ts'
import { memoryCounters } from './memory-counters.ts'
import { connectRedis, type RedisOptions } from './redis.ts'
import { redisStore } from './redis-store.ts'
import { createStoreState, overMemory, overShared } from './shared-store.ts'

/** Starts without a store that is away. @throws StartError when the store refuses its credentials */
export async function openStore(config: Config, log: Logger, stack: Stack, options: RedisOptions = {}) {
  // Other processes may write to a database that is not embedded.
  if (!config.store)
    return overMemory(createLimiter({ counters: memoryCounters() }), config.cache && !config.databaseUrl)
  const store = await openSharedStore(config.store, log, stack, options)
  return overShared(store, { state: createStoreState(log, timerForAll), cached: config.cache })
}

/** Its connection is closed with the stack. */
export async function openSharedStore(
  store: NonNullable<Config['store']>,
  log: Logger,
  stack: Stack,
  options: RedisOptions = {},
) {
  if (store.kind === 'upstash') {
    const { upstashStore } = await import('./upstash.ts')
    return upstashStore(store)
  }
  const { close, ...commands } = await connectRedis(store.url, log, options)
  stack.push('redis', close)
  return redisStore(commands, store.prefix)
}
