/** Entry of `npm run migrate`: applies the files in sql/ to the database, or lists them. */
import { fileURLToPath } from 'node:url'
import type postgres from 'postgres'
import { StartError } from '../core/start-error.ts'
import { readMigrations } from '../runtime/postgres/migration-files.ts'
import { migrationStatus } from '../runtime/postgres/migration-records.ts'
import { migrate } from '../runtime/postgres/migrations.ts'
import { connectAsOperator } from '../runtime/postgres/operator-database.ts'
import { runCommand, UsageError } from '../runtime/process/command.ts'

const help = `Brings the database to this program's schema: applies the files in sql/ that it lacks, in order.

  npm run migrate              apply what is missing
  npm run migrate -- status    list the files and when each was applied, change nothing;
                               the exit code is 1 while some are pending
  npm run migrate -- --help    this text

The database is DATABASE_URL, or without it the one that a running \`npm start\` keeps under DATA_DIR (./data).
`

async function run([command]: string[], env: NodeJS.ProcessEnv) {
  if (command !== undefined && command !== 'status') throw new UsageError(`unknown argument "${command}"`)
  const migrations = await readMigrations(fileURLToPath(new URL('../sql/', import.meta.url)))
  const sql = await connectAsOperator(env)
  try {
    if (command === 'status') await printStatus(sql, migrations)
    else {
      await migrate(sql, migrations, { info: (message) => console.log(message) })
      console.log(`up to date at ${migrations.at(-1)?.name}`)
    }
  } finally {
    await sql.end({ timeout: 5 })
  }
}

/** Throws at the end: the exit code tells a script that files are pending, or `migrate` would refuse. */
async function printStatus(sql: postgres.Sql, migrations: Awaited<ReturnType<typeof readMigrations>>) {
  const status = await migrationStatus(sql, migrations)
  const width = Math.max(...status.migrations.map(({ name }) => name.length))
  for (const { name, applied_at } of status.migrations)
    console.log(`${name.padEnd(width)}  ${applied_at ? `applied ${applied_at}` : 'pending'}`)
  if (status.problems.length > 0) throw new StartError(status.problems.join('; '))
  const pending = status.migrations.filter(({ applied_at }) => applied_at === null)
  if (pending.length > 0) throw new StartError(`${pending.length} pending: npm run migrate applies them`)
}

runCommand({ name: 'migrate', help, positionals: 1, run: (_, positionals, env) => run(positionals, env) })
