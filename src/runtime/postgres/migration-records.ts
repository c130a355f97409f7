/** The table schema_migrations, and its agreement with the program's files. */
import postgres from 'postgres'
import { oneLine } from '../../core/plain-text.ts'
import { StartError } from '../../core/start-error.ts'
import type { Migration } from './migration-files.ts'

type AppliedMigration = {
  version: number
  name: string
  checksum: string
  applied_at: string
  oldest_program: number | null
}

/**
 * Every file that the program or the database knows, in order, and the reasons why `migrate` would refuse
 * this database. Only reads, also a database that was never migrated.
 */
export async function migrationStatus(sql: postgres.Sql, migrations: readonly Migration[]) {
  const { exists } = await findBookkeeping(sql)
  const records = exists ? await listApplied(sql) : []
  const names = new Map<string, string | null>(migrations.map(({ name }) => [name, null]))
  for (const record of records) names.set(record.name, record.applied_at)
  return {
    migrations: [...names]
      .map(([name, applied_at]) => ({ name, applied_at }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    problems: findProblems(migrations, records),
  }
}

/** Creates the table if it is missing. Returns its qualified name and its rows. */
export async function prepareBookkeeping(tx: postgres.TransactionSql) {
  const { exists, role, schema, table } = await findBookkeeping(tx)
  // Not `create table if not exists`, which needs the right to create even when the table exists.
  if (exists) return { table, records: await listApplied(tx) }
  if (schema === null)
    throw new StartError('the database has no schema to create tables in: check search_path')
  try {
    await tx`
      create table schema_migrations (
        version integer primary key,
        name text not null,
        checksum text not null,
        applied_at timestamptz not null default now(),
        oldest_program integer
      )`
  } catch (error) {
    if (!(error instanceof postgres.PostgresError && error.code === '42501')) throw error
    const cause = error
    throw new StartError(
      `the role "${role}" may not create tables in the schema "${schema}": grant it create on that schema (${oneLine(error.message)})`,
      { cause },
    )
  }
  return { table, records: [] }
}

/**
 * Adds the column to a table that an older program made. The transaction ends at once: its lock keeps readers
 * waiting, for whose end a concurrent index build would wait in turn.
 */
export async function addOldestProgram(tx: postgres.TransactionSql, table: string): Promise<boolean> {
  const [column] = await tx`
    select from pg_attribute
    where attrelid = to_regclass(${table}) and attname = 'oldest_program'`
  if (column) return false
  await tx`alter table schema_migrations add column oldest_program integer`
  return true
}

/** Looks in the schema that `create table` would use, and in no other of search_path. */
async function findBookkeeping(sql: postgres.ISql) {
  const [row] = await sql<[{ exists: boolean; role: string; schema: string | null; table: string }]>`
    select to_regclass(name) is not null as exists, current_user as role, current_schema() as schema, name as table
    from (select quote_ident(current_schema()) || '.schema_migrations' as name) named`
  return row
}

function listApplied(sql: postgres.ISql) {
  // Through jsonb, since the column may not exist yet.
  return sql<AppliedMigration[]>`
    select version, name, checksum, (to_jsonb(applied) ->> 'oldest_program')::int as oldest_program,
      to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as applied_at
    from schema_migrations applied
    order by version`
}

export function findProblems(migrations: readonly Migration[], records: readonly AppliedMigration[]) {
  const problems: string[] = []
  for (const record of records) {
    const migration = migrations[record.version - 1]
    if (!migration) continue
    if (migration.name !== record.name)
      problems.push(`${record.name} was applied but is missing, ${migration.name} has its number: restore it`)
    else if (migration.checksum !== record.checksum)
      problems.push(`${record.name} was edited after it was applied: restore it, put changes into a new file`)
  }
  const gap = records.findIndex((record, index) => record.version !== index + 1)
  if (gap >= 0)
    problems.push(`schema_migrations has no row for number ${gap + 1}, but has ${records[gap]?.name}`)
  const tooNew = records.find(({ oldest_program: needed }) => (needed ?? 0) > migrations.length)
  if (tooNew)
    problems.push(
      `the database is at ${tooNew.name}, which no program older than migration ${tooNew.oldest_program} can run beside, and this program's newest is ${migrations.at(-1)?.name}: run a newer program`,
    )
  return problems
}
