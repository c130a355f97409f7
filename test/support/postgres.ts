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

/**
 * The role that connects owns what it makes and is no superuser, as in production. Clients got from `sql` are closed
 * by `stop`, which also removes the data.
 */
export async function startTestPostgres(parameters: Record<string, string> = {}) {
  const directory = await temporaryDirectory()
  await copyFirstStart(directory)
  const server = await startEmbeddedPostgres({
    dataDirectory: directory,
    packageRoot: root,
    log: createLogger('warn'),
    // Programs under test get a DATABASE_URL, which can't name a socket.
    tcpPort: await findFreePort(),
    // What a failing machine would lose is of no interest here, and this is several times as fast.
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
    /** What DATA_DIR must be for a program to find this server. */
    dataDirectory: directory,
    /** For postgres.js; the empty database of a first start unless another is named. */
    options,
    connection: server.connection,
    sql,
    /** A DATABASE_URL. */
    url(database = server.connection.database) {
      const url = new URL(server.url ?? '')
      url.pathname = `/${database}`
      return url.href
    },
    /** Fresh and empty; answers its name. */
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
