/**
 * The database of the black-box suite by TEST_DATABASE: the embedded one (the default), Debian's Postgres 15,
 * the same behind PgBouncer in transaction mode, or with unusual settings.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import { root } from './directories.ts'
import { setOddly } from './odd-settings.ts'
import { startPgBouncer } from './pgbouncer.ts'
import { password, startPostgresCluster } from './postgres-cluster.ts'
import { migrateDatabase } from './processes.ts'

const choices = ['embedded', 'postgres15', 'postgres15-odd', 'pgbouncer']

export async function startTestDatabase() {
  const choice = process.env.TEST_DATABASE ?? 'embedded'
  if (!choices.includes(choice)) throw new Error(`TEST_DATABASE: give one of ${choices.join(', ')}`)
  if (choice === 'embedded')
    return { settingsFor: async (): Promise<Record<string, string>> => ({}), stop: async () => {} }
  const server = await startPostgresCluster({ installed: true })
  const pooler = choice === 'pgbouncer' ? await startPgBouncer(server) : undefined

  const [, grants = ''] =
    /<!-- tested: test\/support\/test-database.ts -->\n```sql\n(.*?)```/s.exec(
      await readFile(join(root, 'docs/postgres.md'), 'utf8'),
    ) ?? []
  await server.query(`create role tasks_app login password '${password}'`)

  /** Settings of a service with a migrated database of its own, and with the rights of docs/postgres.md. */
  async function settingsFor(service: string): Promise<Record<string, string>> {
    const url = new URL((pooler ?? server).url())
    url.pathname = `/${service}`
    await server.query(`create database ${service} owner tasks`)
    if (choice === 'postgres15-odd') await setOddly(server, service)
    const owner = postgres(url.href, { max: 1, fetch_types: false })
    await owner.unsafe(grants).finally(() => owner.end())
    await migrateDatabase(url.href)
    url.username = 'tasks_app'
    return { DATABASE_URL: url.href, ...(pooler ? { DATABASE_PREPARE: 'off' } : {}) }
  }

  return {
    settingsFor,
    async stop() {
      await pooler?.stop()
      await server.remove()
    },
  }
}
