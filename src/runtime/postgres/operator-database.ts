/** The database of an operator's commands, which run beside the service. */
import { resolve } from 'node:path'
import postgres from 'postgres'
import { type Config, readConfig } from '../../config/api.ts'
import { StartError } from '../../core/start-error.ts'
import type { Database } from '../../ports/database.ts'
import { findEmbeddedPostgres } from '../embedded-postgres/start.ts'
import type { Connect } from './connections.ts'
import { readDatabaseUrl } from './database-url.ts'
import { createDatabase, valueOptions } from './postgres.ts'

type Location = Pick<Config, 'databaseUrl' | 'databaseCa' | 'dataDirectory'>

/**
 * Options of postgres.js for DATABASE_URL, or without it for the embedded server that a running `npm start`
 * keeps under DATA_DIR. One connection, without prepared statements, which a transaction pooler would lose.
 * @throws StartError when there is none, or DATABASE_URL cannot be read
 */
async function findOperatorDatabase({ databaseUrl, databaseCa, dataDirectory }: Location) {
  const options = { ...valueOptions, max: 1, prepare: false, connect_timeout: 10 } as const
  if (databaseUrl) return { ...options, ...readDatabaseUrl({ databaseUrl, databaseCa }).options }
  const embedded = await findEmbeddedPostgres({ dataDirectory })
  if (embedded) return { ...options, ...embedded }
  throw new StartError(
    `no database: run npm start first (no server is running on ${dataDirectory}), or set DATABASE_URL`,
  )
}

/** Reads no other settings, which may be wrong. @throws StartError as findOperatorDatabase does */
export async function connectAsOperator({ DATABASE_URL, DATABASE_CA, DATA_DIR }: NodeJS.ProcessEnv) {
  const dataDirectory = resolve(DATA_DIR || './data')
  const location = { databaseUrl: DATABASE_URL, databaseCa: DATABASE_CA, dataDirectory }
  return postgres(await findOperatorDatabase(location))
}

/** The database and the settings of the service. @throws StartError when there is no database */
export async function withDatabase(
  env: NodeJS.ProcessEnv,
  work: (db: Database, config: Config) => Promise<void>,
) {
  const config = readConfig(env)
  const dataDirectory = resolve(config.dataDirectory)
  const options = await findOperatorDatabase({ ...config, dataDirectory })
  const connect: Connect = (own) => postgres({ ...options, ...own })
  const database = createDatabase(connect, { poolSize: 1, timeoutMs: 60_000 })
  try {
    await work(database, config)
  } finally {
    await database.close()
  }
}
