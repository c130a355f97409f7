/** Entry of the migrations on AWS Lambda, where only functions reach a database in a VPC. */
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { readConfig } from './config/api.ts'
import { createLogger } from './core/log.ts'
import { StartError } from './core/start-error.ts'
import { readDatabaseUrl } from './runtime/postgres/database-url.ts'
import { readMigrations } from './runtime/postgres/migration-files.ts'
import { migrate } from './runtime/postgres/migrations.ts'
import { valueOptions } from './runtime/postgres/postgres.ts'

const { databaseUrl, databaseCa, logLevel } = readConfig(process.env)
const log = createLogger(logLevel)

/** Takes any event. Resolves with the name of the newest migration once it is applied. */
export async function handler() {
  if (!databaseUrl)
    throw new StartError(
      'DATABASE_URL: missing; give one such as postgres://user:password@host:5432/database',
    )
  const migrations = await readMigrations(fileURLToPath(new URL('sql/', import.meta.url)))
  const { options } = readDatabaseUrl({ databaseUrl, databaseCa })
  const sql = postgres({ ...valueOptions, ...options, max: 1, prepare: false })
  try {
    await migrate(sql, migrations, log)
    return { schema: migrations.at(-1)?.name }
  } finally {
    await sql.end({ timeout: 5 })
  }
}
