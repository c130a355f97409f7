/** Opens the store of a Node process: the one that the settings name, or its memory. */
import type { Config } from '../../config/api.ts'
import type { Logger } from '../../core/log.ts'
import { createLimiter } from '../../store/limiter.ts'
import type { Stack } from '../process/shutdown.ts'
import { memoryCounters } from './memory-counters.ts'
import { connectRedis, type RedisOptions } from './redis.ts'
import { redisStore } from './redis-store.ts'
import { createStoreState, overMemory, overShared } from './shared-store.ts'
import { upstashCommands } from './upstash.ts'

/** @throws StartError when the store refuses its credentials; one that is away is waited for a little, then done without. */
export async function openStore(config: Config, log: Logger, stack: Stack, options: RedisOptions = {}) {
  // A database that is not embedded may have other processes that write to it.
  if (!config.store)
    return overMemory(createLimiter({ counters: memoryCounters() }), config.cache && !config.databaseUrl)
  const commands = await commandsOf(config.store, log, stack, options)
  return overShared(redisStore(commands, config.store.prefix), {
    state: createStoreState(log),
    cached: config.cache,
  })
}

/** The connection of one that is shared; it is closed with the stack. */
export async function commandsOf(
  store: NonNullable<Config['store']>,
  log: Logger,
  stack: Stack,
  options: RedisOptions = {},
) {
  if (store.kind === 'upstash') return upstashCommands(store)
  const { close, ...commands } = await connectRedis(store.url, log, options)
  stack.push('redis', close)
  return commands
}
