/**
 * Where answers are cached in the one process's own memory, the embedded database carries to it what a command beside it has to
 * tell: whose sessions it has ended.
 */
import postgres from 'postgres'
import type { Database } from '../../ports/database.ts'
import type { Cache } from '../../store/cache.ts'
import type { EmbeddedPostgres } from '../embedded-postgres/start.ts'
import { valueOptions } from '../postgres/postgres.ts'
import type { Stack } from '../process/shutdown.ts'

const channel = 'task_api_renewals'
/** A notice holds less than 8000 bytes. */
const together = 300

/**
 * Resolves when it listens. When the server was away, postgres.js listens again after a while; what was told in between nobody
 * has heard, so that all that is cached goes.
 */
export async function subscribeToInvalidations(
  connection: EmbeddedPostgres['connection'],
  { invalidate, clearCache }: Pick<Cache, 'invalidate'> & { clearCache: () => void },
  stack: Stack,
) {
  const sql = postgres({ ...valueOptions, ...connection, max: 1 })
  stack.push('renewal notices', () => sql.end({ timeout: 1 }))
  await sql.listen(channel, (ids) => void invalidate(ids.split(',').map(Number)), clearCache)
}

export async function publishInvalidations(db: Database, userIds: number[]) {
  for (let i = 0; i < userIds.length; i += together) {
    const ids = userIds.slice(i, i + together).join(',')
    await db.run((sql) => sql`select pg_notify(${channel}, ${ids})`)
  }
}
