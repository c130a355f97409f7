/** The database of a service on Node: the one DATABASE_URL names, or the one embedded here. */
import { join } from 'node:path'
import postgres, { type Sql } from 'postgres'
import type { Config } from '../config.ts'
import { errorFields, type Logger } from '../log.ts'
import { schemaVersion } from '../schema-version.ts'
import { StartError } from '../start-error.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded-postgres.ts'
import { migrate, readMigrations } from './migrations.ts'
import { type Connect, createDatabase, valueOptions } from './postgres.ts'
import type { Stack } from './shutdown.ts'

type Opening = {
  config: Config
  dataDirectory: string
  packageRoot: string
  log: Logger
  stack: Stack
}

/** Where the database is, as plain data: DATABASE_URL, or the embedded server's connection. */
export type DatabaseAddress = string | EmbeddedPostgres['connection']

/** The embedded server has so many connections for what runs beside the API: commands, its own super-user. */
const spareConnections = 20

/**
 * Starts the embedded server where there is no DATABASE_URL, and brings its schema up to date.
 * @throws StartError, in one line, when the database cannot be used by this program.
 */
export async function startDatabase({
  config,
  dataDirectory,
  packageRoot,
  log,
  stack,
}: Opening): Promise<DatabaseAddress> {
  if (config.databaseUrl) {
    await using(connectTo(config.databaseUrl, config), (sql) => checkVersion(sql, log))
    return config.databaseUrl
  }
  const places = config.databasePool * config.webConcurrency
  const maxConnections = Math.max(50, places + spareConnections)
  const server = await startMigrated({ config, dataDirectory, packageRoot, log, stack, maxConnections })
  return server.connection
}

/** The embedded server, its schema up to date; it is stopped with the stack. */
export async function startMigrated({
  config,
  dataDirectory,
  packageRoot,
  log,
  stack,
  maxConnections,
  tcpPort,
}: Opening & { maxConnections: number; tcpPort?: number }): Promise<EmbeddedPostgres> {
  const parameters = { max_connections: String(maxConnections) }
  const server = await startEmbeddedPostgres({
    dataDirectory,
    packageRoot,
    log,
    parameters,
    ...(tcpPort === undefined ? {} : { tcpPort }),
  })
  stack.push('Postgres', server.stop)
  if (server.notice) log.warn(server.notice)
  const migrations = await readMigrations(join(packageRoot, 'sql'))
  await using(connectTo(server.connection, config), (sql) => migrate(sql, migrations, log))
  return server
}

/** This process's connections, made as they are needed. */
export function connectDatabase(config: Config, address: DatabaseAddress, stack: Stack) {
  const database = createDatabase(connectTo(address, config), {
    places: config.databasePool,
    timeoutMs: config.databaseTimeoutMs,
  })
  stack.push('database connections', database.close)
  return database
}

function connectTo(address: DatabaseAddress, { databasePool, databasePrepare }: Config): Connect {
  const options = { ...valueOptions, max: databasePool, prepare: databasePrepare }
  return () =>
    typeof address === 'string' ? postgres(address, options) : postgres({ ...address, ...options })
}

async function using(connect: Connect, work: (sql: ReturnType<Connect>) => Promise<unknown>) {
  const sql = connect()
  try {
    await work(sql)
  } finally {
    await sql.end({ timeout: 2 })
  }
}

/** A newer schema is refused; an older one, or a server that is away, can be mended without a restart: /readyz says so. */
async function checkVersion(sql: Pick<Sql, 'unsafe'>, log: Logger) {
  let version: number | null | undefined
  try {
    const [row] = await sql.unsafe<{ version: number | null }[]>(
      'select max(version) as version from schema_migrations',
    )
    version = row?.version
  } catch (error) {
    log.warn('the database is not ready yet', errorFields(error))
    return
  }
  if ((version ?? 0) > schemaVersion) {
    throw new StartError(
      `DATABASE_URL: its schema has version ${version}, this program knows versions up to ${schemaVersion}; start a newer program`,
    )
  }
  if ((version ?? 0) < schemaVersion) log.warn('the schema is older than the program: run npm run migrate')
}
