/** The database as a command finds it that an operator runs beside the service. */
import postgres from 'postgres'
import { StartError } from '../../core/start-error.ts'
import { findEmbeddedPostgres } from '../embedded-postgres/start.ts'
import { readDatabaseUrl } from './database-url.ts'
import { valueOptions } from './postgres.ts'

type Place = {
  databaseUrl: string | undefined
  databaseCa: string | undefined
  dataDirectory: string
  packageRoot: string
}

/**
 * Options of postgres.js for the one that DATABASE_URL names, or without it for the one that a running `npm
 * start` keeps under DATA_DIR. One connection, and nothing that a transaction pooler would lose between
 * statements.
 * @throws StartError when there is none, or DATABASE_URL cannot be read
 */
export async function findOperatorDatabase({ databaseUrl, databaseCa, dataDirectory, packageRoot }: Place) {
  const options = { ...valueOptions, max: 1, prepare: false, connect_timeout: 10 } as const
  if (databaseUrl) return { ...options, ...readDatabaseUrl({ databaseUrl, databaseCa }).options }
  const embedded = await findEmbeddedPostgres({ dataDirectory, packageRoot })
  if (embedded) return { ...options, ...embedded }
  throw new StartError(
    `no database: run npm start first (no server is running on ${dataDirectory}), or set DATABASE_URL`,
  )
}

/** A client of it, for statements one after another. @throws StartError as findOperatorDatabase does */
export const connectAsOperator = async (place: Place) => postgres(await findOperatorDatabase(place))
