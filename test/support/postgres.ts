/** A real, throw-away Postgres for tests. */
import { rm } from 'node:fs/promises'
import postgres from 'postgres'
import { createLogger } from '../../src/core/log.ts'
import { startEmbeddedPostgres } from '../../src/runtime/embedded-postgres/start.ts'
import { root, temporaryDirectory } from './directories.ts'
import { copyFirstStart } from './first-start.ts'
import { findFreePort } from './ports.ts'

export type TestPostgres = Awaited<ReturnType<typeof startTestPostgres>>

type Options = postgres.Options<Record<string, never>>

/** The role is no superuser, as in production. `stop` closes the clients of `sql` and removes the data. */
export async function startTestPostgres(parameters: Record<string, string> = {}) {
  const directory = await temporaryDirectory()
  await copyFirstStart(directory)
  const server = await startEmbeddedPostgres({
    dataDirectory: directory,
    packageRoot: root,
    log: createLogger('warn'),
    // Programs under test get a DATABASE_URL by TCP.
    tcpPort: await findFreePort(),
    // Not durable, and several times as fast.
    parameters: {
      fsync: 'off',
      synchronous_commit: 'off',
      full_page_writes: 'off',
      max_connections: '200',
      ...parameters,
    },
  })
  const clients: postgres.Sql[] = []
  let databases = 0

  const options = (database = server.connection.database): Options => ({ ...server.connection, database })
  const sql = (database?: string, more: Options = {}) => {
    const client = postgres({ onnotice: () => {}, ...options(database), ...more })
    clients.push(client)
    return client
  }
  const admin = sql(undefined, { max: 1 })

  return {
    /** The DATA_DIR with which a program finds this server. */
    dataDirectory: directory,
    /** A client, by default of the empty database of a first start. */
    options,
    connection: server.connection,
    sql,
    /** A DATABASE_URL. */
    url(database = server.connection.database) {
      const url = new URL(server.url ?? '')
      url.pathname = `/${database}`
      return url.href
    },
    /** Creates an empty database and returns its name. */
    async createDatabase() {
      const name = `test_${++databases}`
      await admin`create database ${admin(name)}`
      return name
    },
    async stop() {
      await Promise.all(clients.map((client) => client.end({ timeout: 1 })))
      await server.stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}
