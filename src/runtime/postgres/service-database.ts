/** The database of a service on Node: that of DATABASE_URL, or the embedded one. */
import { join } from 'node:path'
import postgres, { type Sql } from 'postgres'
import type { Config } from '../../config/api.ts'
import type { Logger } from '../../core/log.ts'
import { findNative } from '../embedded-postgres/native.ts'
import { startEmbeddedPostgres } from '../embedded-postgres/start.ts'
import type { Stack } from '../process/shutdown.ts'
import { connectTo, type DatabaseAddress } from './connect.ts'
import { readDatabaseUrl } from './database-url.ts'
import { inspectServer } from './inspect-server.ts'
import { readMigrations } from './migration-files.ts'
import { migrate } from './migrations.ts'
import { createDatabase, valueOptions } from './postgres.ts'

export type DatabaseOpening = {
  config: Config
  /** An absolute path. */
  dataDirectory: string
  packageRoot: string
  log: Logger
  stack: Stack
}

/** Connections of the embedded server for commands beside the API, and for its superuser. */
const spareConnections = 20

/** Warns about faults that can be mended meanwhile. @throws StartError when the database cannot be used */
export async function checkDatabase({
  config: { databaseUrl, databaseCa, databasePrepare: prepare, databaseTimeoutMs: statementMs },
  packageRoot,
  log,
}: Omit<DatabaseOpening, 'stack'>): Promise<string | undefined> {
  if (!databaseUrl) return `embedded Postgres ${(await findNative(packageRoot)).version}`
  const { options, unused } = readDatabaseUrl({ databaseUrl, databaseCa })
  if (unused.length > 0) log.warn('DATABASE_URL: these parameters mean nothing here', { parameters: unused })
  const open = (own: object) => postgres({ ...valueOptions, ...options, ...own }) as unknown as Sql
  await inspectServer(open, { prepare, statementMs, log })
  return undefined
}

/** Without DATABASE_URL starts the embedded server and applies the migrations. */
export async function startDatabase(opening: DatabaseOpening): Promise<DatabaseAddress> {
  const { databaseUrl, databasePool, webConcurrency } = opening.config
  if (databaseUrl) return databaseUrl
  const maxConnections = Math.max(50, databasePool * webConcurrency + spareConnections)
  return (await startMigrated({ ...opening, maxConnections })).connection
}

/** Starts the embedded server and applies the migrations. It stops with the stack. */
export async function startMigrated({
  stack,
  maxConnections,
  ...options
}: Omit<DatabaseOpening, 'config'> & { maxConnections: number; tcpPort?: number }) {
  const parameters = { max_connections: String(maxConnections) }
  const server = await startEmbeddedPostgres({ ...options, parameters })
  stack.push('Postgres', server.stop)
  for (const notice of server.notices) options.log.warn(notice)
  const sql = postgres({ ...valueOptions, ...server.connection, max: 1 }) as unknown as Sql
  try {
    await migrate(sql, await readMigrations(join(options.packageRoot, 'sql')), options.log)
  } finally {
    await sql.end({ timeout: 2 })
  }
  return server
}

export function connectDatabase(config: Config, address: DatabaseAddress, stack: Stack) {
  const database = createDatabase(connectTo(address, config), {
    poolSize: config.databasePool,
    timeoutMs: config.databaseTimeoutMs,
  })
  stack.push('database connections', database.close)
  return database
}
