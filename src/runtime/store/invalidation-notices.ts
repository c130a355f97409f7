/** Invalidations that a command beside a running API sends to its cache. */
import postgres from 'postgres'
import type { Config } from '../../config/api.ts'
import { createLogger } from '../../core/log.ts'
import type { Database } from '../../ports/database.ts'
import { type Cache, createCache, entryTtlMs } from '../../store/cache.ts'
import { createGuard } from '../../store/store.ts'
import type { Connection } from '../embedded-postgres/start.ts'
import { valueOptions } from '../postgres/postgres.ts'
import { createStack, type Stack } from '../process/shutdown.ts'
import { openSharedStore } from './open-store.ts'

const channel = 'task_api_renewals'
/** A notification holds less than 8000 bytes. */
const idsPerNotice = 300
const usersPerRoundTrip = 1000

/**
 * For answers in the API's own memory; resolves when it listens. postgres.js listens again after an outage;
 * notifications were missed meanwhile, so the whole cache is cleared.
 */
export async function subscribeToInvalidations(
  connection: Connection,
  { invalidate, clearCache }: Pick<Cache, 'invalidate'> & { clearCache: () => void },
  stack: Stack,
) {
  const sql = postgres({ ...valueOptions, ...connection, max: 1 })
  stack.push('invalidation notices', () => sql.end({ timeout: 1 }))
  await sql.listen(channel, (ids) => void invalidate(ids.split(',').map(Number)), clearCache)
}

export async function publishInvalidations(db: Database, userIds: number[]) {
  for (let i = 0; i < userIds.length; i += idsPerNotice) {
    const ids = userIds.slice(i, i + idsPerNotice).join(',')
    await db.run((sql) => sql`select pg_notify(${channel}, ${ids})`)
  }
}

/** Returns a notice for the operator if cached answers of these users may be read for a while longer. */
export async function invalidateCachedFor(db: Database, { store, databaseUrl }: Config, userIds: number[]) {
  if (userIds.length === 0) return undefined
  if (!store) {
    // Several processes without a shared store cache nothing.
    if (!databaseUrl) await publishInvalidations(db, userIds)
    return undefined
  }
  const log = createLogger('silent')
  const stack = createStack(log)
  try {
    const { entries } = await openSharedStore(store, log, stack)
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
