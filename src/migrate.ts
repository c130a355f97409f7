/** Entry of `npm run migrate`: applies the files in sql/ to the database, or says which are applied. */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { findEmbeddedPostgres } from './runtime/embedded-postgres.ts'
import { migrate, migrationStatus, readMigrations } from './runtime/migrations.ts'
import { StartError } from './start-error.ts'

const help = `Brings the database to this program's schema: applies the files in sql/ that it lacks, in order.

  npm run migrate              apply what is missing
  npm run migrate -- status    list the files and when each was applied, change nothing
  npm run migrate -- --help    this text

The database is DATABASE_URL, or without it the one that a running \`npm start\` keeps under DATA_DIR (./data).
`

const packageRoot = fileURLToPath(new URL('..', import.meta.url))

async function run(args: string[], env: NodeJS.ProcessEnv) {
  const [command, extra] = args
  if (command === '--help' || command === '-h') return console.log(help)
  const unknown = command === 'status' ? extra : command
  if (unknown !== undefined)
    throw new StartError(`unknown argument "${unknown}": see npm run migrate -- --help`)
  const migrations = await readMigrations(fileURLToPath(new URL('../sql/', import.meta.url)))
  const sql = await connect(env)
  try {
    if (command === 'status') await printStatus(sql, migrations)
    else await applyAll(sql, migrations)
  } finally {
    await sql.end({ timeout: 5 })
  }
}

type Migrations = Awaited<ReturnType<typeof readMigrations>>

async function applyAll(sql: postgres.Sql, migrations: Migrations) {
  await migrate(sql, migrations, { info: (message) => console.log(message) })
  console.log(`up to date at ${migrations.at(-1)?.name}`)
}

/** Problems come last and as the error: the exit code tells a script that `migrate` would refuse. */
async function printStatus(sql: postgres.Sql, migrations: Migrations) {
  const status = await migrationStatus(sql, migrations)
  const width = Math.max(...status.migrations.map(({ name }) => name.length))
  for (const { name, applied_at } of status.migrations)
    console.log(`${name.padEnd(width)}  ${applied_at ? `applied ${applied_at}` : 'pending'}`)
  if (status.problems.length > 0) throw new StartError(status.problems.join('; '))
}

async function connect(env: NodeJS.ProcessEnv) {
  // One connection, and nothing a transaction pooler would lose between statements.
  const options = { max: 1, prepare: false, fetch_types: false, connect_timeout: 10, onnotice: () => {} }
  if (env.DATABASE_URL) return connectTo(env.DATABASE_URL, options)
  const dataDirectory = resolve(env.DATA_DIR || './data')
  const embedded = await findEmbeddedPostgres({ dataDirectory, packageRoot })
  if (!embedded)
    throw new StartError(
      `no database: set DATABASE_URL, or run npm start first (no server is running on ${dataDirectory})`,
    )
  return postgres({ ...embedded, ...options })
}

function connectTo(url: string, options: postgres.Options<Record<string, never>>) {
  try {
    if (/^postgres(ql)?:\/\//.test(url)) return postgres(url, options)
  } catch {
    // The cause would show the password.
  }
  throw new StartError('DATABASE_URL must look like postgres://user:password@host:5432/database')
}

function describe(error: unknown): string {
  return error instanceof StartError ? error.message : `cannot use the database: ${messageOf(error)}`
}

/** One line; a refused connection to a name with several addresses has its messages one level down. */
function messageOf(error: unknown): string {
  if (error instanceof AggregateError && !error.message) return error.errors.map(messageOf).join(', ')
  return String(error instanceof Error ? error.message || error.name : error).replace(/\s+/g, ' ')
}

run(process.argv.slice(2), process.env).catch((error: unknown) => {
  console.error(describe(error))
  process.exitCode = 1
})
