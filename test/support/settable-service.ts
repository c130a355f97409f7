/** An API with its own database, whose settings a test changes. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestContext } from 'vitest'
import { createClient } from './client.ts'
import type { PostgresCluster } from './postgres-cluster.ts'
import { migrateDatabase, startApi } from './processes.ts'

type Server = Pick<PostgresCluster, 'query' | 'url'>
type Options = {
  server: Server
  /** A pooler, for one, that the service connects to instead. */
  front?: Pick<PostgresCluster, 'url'>
  environment?: Record<string, string>
  /** Options of `create database`. */
  with?: string
}

export async function createDatabase({ server, front = server, with: options = '' }: Options) {
  const name = `odd_${randomUUID().slice(0, 8)}`
  await server.query(`create database ${name} owner tasks ${options}`)
  const url = new URL(front.url())
  url.pathname = `/${name}`

  return {
    name,
    url: url.href,
    query: <T extends object>(statement: string) => server.query<T>(statement, name),
    /** Changes settings of the database and ends its connections, as only new ones get the settings. */
    async set(settings: Record<string, string>) {
      for (const [setting, value] of Object.entries(settings))
        await server.query(`alter database ${name} set ${setting} = '${value}'`)
      await server.query(
        `select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '${name}'`,
      )
    },
  }
}

export async function createSettableService(context: Pick<TestContext, 'onTestFinished'>, options: Options) {
  const database = await createDatabase(options)
  await migrateDatabase(database.url)
  const api = await startApi({
    environment: {
      DATABASE_URL: database.url,
      JWT_SECRET: 'x'.repeat(32),
      RATE_LIMIT_USER: '1000000/60s',
      BCRYPT_COST: '4',
      ...options.environment,
    },
  })
  context.onTestFinished(async () => void (await api.stop()))
  const client = createClient(api)
  return {
    ...client,
    api,
    database: {
      ...database,
      async set(settings: Record<string, string>) {
        await database.set(settings)
        // Lets the service notice its closed connections. It retries reads.
        await sleep(50)
        await client.request('GET', '/readyz')
      },
    },
  }
}
