/** Opens the database of a Node process: the one DATABASE_URL names, or the one embedded here. */
import { join } from 'node:path'
import postgres, { type Sql } from 'postgres'
import type { Config } from '../config.ts'
import type { Database } from '../database.ts'
import { errorFields, type Logger } from '../log.ts'
import { schemaVersion } from '../schema-version.ts'
import { StartError } from '../start-error.ts'
import { startEmbeddedPostgres } from './embedded-postgres.ts'
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

/** @throws StartError, in one line, when the database cannot be used by this program. */
export async function openDatabase({
  config,
  dataDirectory,
  packageRoot,
  log,
  stack,
}: Opening): Promise<Database> {
  const options = { ...valueOptions, max: config.databasePool, prepare: config.databasePrepare }
  const { databaseUrl } = config
  let connect: Connect
  if (databaseUrl) {
    connect = () => postgres(databaseUrl, options)
    await using(connect, (sql) => checkVersion(sql, log))
  } else {
    const server = await startEmbeddedPostgres({ dataDirectory, packageRoot, log })
    stack.push('Postgres', server.stop)
    if (server.notice) log.warn(server.notice)
    connect = () => postgres({ ...server.connection, ...options })
    const migrations = await readMigrations(join(packageRoot, 'sql'))
    await using(connect, (sql) => migrate(sql, migrations, log))
  }
  const database = createDatabase(connect, {
    places: config.databasePool,
    timeoutMs: config.databaseTimeoutMs,
  })
  stack.push('database connections', database.close)
  return database
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
