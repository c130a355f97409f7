/** Invalidates the cache of a running service from a command beside it. */

import type { Config } from '../../config/api.ts'
import { createLogger } from '../../core/log.ts'
import type { Database } from '../../ports/database.ts'
import { createCache, entryTtlMs } from '../../store/cache.ts'
import { createGuard } from '../../store/store.ts'
import { createStack } from '../process/shutdown.ts'
import { publishInvalidations } from './invalidation-notices.ts'
import { openSharedStore } from './open-store.ts'

const usersPerRoundTrip = 1000

/** Returns a notice for the operator if cached answers of these users may be read for a while longer. */
export async function invalidateCachedFor(
  db: Database,
  config: Config,
  userIds: number[],
): Promise<string | undefined> {
  if (userIds.length === 0) return undefined
  if (!config.store) {
    // Several processes without a shared store cache nothing.
    if (!config.databaseUrl) await publishInvalidations(db, userIds)
    return undefined
  }
  const log = createLogger('silent')
  const stack = createStack(log)
  try {
    const { entries } = await openSharedStore(config.store, log, stack)
    const state = { pendingInvalidations: new Map<number, number>() }
    const cache = createCache({ entries, guard: createGuard({ log }), state })
    for (let i = 0; i < userIds.length; i += usersPerRoundTrip)
      await cache.invalidate(userIds.slice(i, i + usersPerRoundTrip))
    if (state.pendingInvalidations.size === 0) return undefined
    return `the store that caches answers is away: answers that were read before may be read again for up to ${entryTtlMs / 1000} s`
  } finally {
    await stack.unwind()
  }
}
