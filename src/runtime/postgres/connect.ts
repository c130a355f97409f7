/** Makes the connections of a Node process. */
import postgres from 'postgres'
import type { Config } from '../../config/api.ts'
import type { Connection } from '../embedded-postgres/start.ts'
import type { Connect } from './connections.ts'
import { readDatabaseUrl } from './database-url.ts'
import { valueOptions } from './postgres.ts'

/** Can be sent to workers: DATABASE_URL or the embedded connection. */
export type DatabaseAddress = string | Connection

/** @throws StartError when DATABASE_URL, or a file that it names, cannot be read */
export function connectTo(
  address: DatabaseAddress,
  { databaseCa, databasePrepare: prepare }: Pick<Config, 'databaseCa' | 'databasePrepare'>,
): Connect {
  const options =
    typeof address === 'string' ? readDatabaseUrl({ databaseUrl: address, databaseCa }).options : address
  return (own) => postgres({ ...valueOptions, ...options, ...own, prepare })
}
