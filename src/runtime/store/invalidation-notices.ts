/**
 * Invalidations that a command sends to the running API through the embedded database, for answers that are
 * cached in the API's own memory.
 */
import postgres from 'postgres'
import type { Database } from '../../ports/database.ts'
import type { Cache } from '../../store/cache.ts'
import type { EmbeddedPostgres } from '../embedded-postgres/start.ts'
import { valueOptions } from '../postgres/postgres.ts'
import type { Stack } from '../process/shutdown.ts'

const channel = 'task_api_renewals'
/** A notification holds less than 8000 bytes. */
const idsPerNotice = 300

/**
 * Resolves when it listens. postgres.js listens again after an outage; notifications were missed meanwhile,
 * so the whole cache is cleared.
 */
export async function subscribeToInvalidations(
  connection: EmbeddedPostgres['connection'],
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
