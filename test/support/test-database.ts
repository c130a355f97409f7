/**
 * The database behind the services of the black-box suite, as TEST_DATABASE says: the one that comes with the API (the
 * default), Debian's Postgres 15, or that behind PgBouncer in transaction mode.
 */
import { startPgBouncer } from './pgbouncer.ts'
import { startPostgresCluster } from './postgres-cluster.ts'
import { migrateDatabase } from './processes.ts'

const choices = ['embedded', 'postgres15', 'pgbouncer']

export async function startTestDatabase() {
  const choice = process.env.TEST_DATABASE ?? 'embedded'
  if (!choices.includes(choice)) throw new Error(`TEST_DATABASE: give one of ${choices.join(', ')}`)
  if (choice === 'embedded') return { settingsFor: async () => ({}), stop: async () => {} }
  const server = await startPostgresCluster({ version15: true })
  const pooler = choice === 'pgbouncer' ? await startPgBouncer(server) : undefined

  /** The settings of one of several services, each of which has a database of its own, migrated. */
  async function settingsFor(service: string): Promise<Record<string, string>> {
    const url = new URL((pooler ?? server).url())
    url.pathname = `/${service}`
    await server.query(`create database ${service} owner tasks`)
    await migrateDatabase(url.href)
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
