/** Opens the database of a Node process: the one DATABASE_URL names, or the one embedded here. */
import { join } from 'node:path'
import postgres, { type Options, type Sql } from 'postgres'
import type { Config } from '../config.ts'
import type { Database } from '../database.ts'
import { errorFields, type Logger } from '../log.ts'
import { schemaVersion } from '../schema-version.ts'
import { StartError } from '../start-error.ts'
import { startEmbeddedPostgres } from './embedded-postgres.ts'
import { migrate, readMigrations } from './migrations.ts'
import { createDatabase, valueOptions } from './postgres.ts'
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
  const connect = (connection: Options<typeof options.types> | string) => {
    const sql =
      typeof connection === 'string' ? postgres(connection, options) : postgres({ ...connection, ...options })
    stack.push('database connections', () => sql.end({ timeout: 2 }))
    return sql
  }
  if (config.databaseUrl) {
    const sql = connect(config.databaseUrl)
    await checkVersion(sql, log)
    return createDatabase(sql, config.databaseTimeoutMs)
  }
  const server = await startEmbeddedPostgres({ dataDirectory, packageRoot, log })
  stack.push('Postgres', server.stop)
  if (server.notice) log.warn(server.notice)
  const sql = connect(server.connection)
  await migrate(sql, await readMigrations(join(packageRoot, 'sql')), log)
  return createDatabase(sql, config.databaseTimeoutMs)
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
