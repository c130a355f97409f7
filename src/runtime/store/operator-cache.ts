/** Tells the cached answers of a running service that sessions were ended beside it. */

import type { Config } from '../../config/api.ts'
import { createLogger } from '../../core/log.ts'
import type { Database } from '../../ports/database.ts'
import { createCache, entryTtlMs } from '../../store/cache.ts'
import { createGuard } from '../../store/store.ts'
import { createStack } from '../process/shutdown.ts'
import { publishInvalidations } from './invalidation-notices.ts'
import { commandsOf } from './open-store.ts'
import { redisStore } from './redis-store.ts'

/** So many users are told of in one round trip. */
const together = 1000

/**
 * Answers what is left to say to the operator, or undefined when whoever's session has ended reads nothing any more.
 * Where several processes have no store that they share, nothing is cached.
 */
export async function invalidateCachedFor(
  db: Database,
  config: Config,
  userIds: number[],
): Promise<string | undefined> {
  const rest = `answers that were read before may be read again for up to ${entryTtlMs / 1000} s`
  if (userIds.length === 0) return undefined
  if (!config.store) {
    if (!config.databaseUrl) await publishInvalidations(db, userIds)
    return undefined
  }
  const log = createLogger('silent')
  const stack = createStack(log)
  try {
    const { texts } = redisStore(await commandsOf(config.store, log, stack), config.store.prefix)
    const state = { owed: new Map<number, number>() }
    const cache = createCache({ texts, guard: createGuard({ log }), state })
    for (let i = 0; i < userIds.length; i += together) await cache.invalidate(userIds.slice(i, i + together))
    return state.owed.size > 0 ? `the store that caches answers is away: ${rest}` : undefined
  } finally {
    await stack.unwind()
  }
}
