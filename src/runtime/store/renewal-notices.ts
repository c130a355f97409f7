/**
 * Where answers are cached in the one process's own memory, the embedded database carries to it what a command beside it has to
 * tell: whose sessions it has ended.
 */
import postgres from 'postgres'
import type { Cache } from '../../cache.ts'
import type { Database } from '../../database.ts'
import { valueOptions } from '../database/postgres.ts'
import type { EmbeddedPostgres } from '../embedded-postgres.ts'
import type { Stack } from '../shutdown.ts'

const channel = 'task_api_renewals'
/** A notice holds less than 8000 bytes. */
const together = 300

/** Resolves when it listens; postgres.js goes on to do so when the server was away. */
export async function hearRenewals(
  connection: EmbeddedPostgres['connection'],
  cache: Pick<Cache, 'renew'>,
  stack: Stack,
) {
  const sql = postgres({ ...valueOptions, ...connection, max: 1 })
  stack.push('renewal notices', () => sql.end({ timeout: 1 }))
  await sql.listen(channel, (ids) => void cache.renew(ids.split(',').map(Number)))
}

export async function sendRenewals(db: Database, userIds: number[]) {
  for (let i = 0; i < userIds.length; i += together) {
    const ids = userIds.slice(i, i + together).join(',')
    await db.run((sql) => sql`select pg_notify(${channel}, ${ids})`)
  }
}
