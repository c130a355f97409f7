/**
 * Brings a database to this program's schema: numbered SQL files, each applied once, in order, in its own
 * transaction or, where the file says so, outside of one.
 */
import postgres from 'postgres'
import type { Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import type { Migration } from './migration-files.ts'

type AppliedMigration = {
  version: number
  name: string
  checksum: string
  applied_at: string
  oldest_program: number | null
}

export type MigrationStatus = {
  /** Every file known to the program or the database, in order. */
  migrations: { name: string; applied_at: string | null }[]
  /** Why `migrate` would refuse this database; empty when it would not. */
  problems: string[]
}

// Any number does, as long as nothing else in the database locks the same one.
const lockKey = '5318008214071'
const lockPollMs = 50

/**
 * Applies what is missing. Any number of processes may do so at once: each file is run by one of them, the
 * others wait for it. Throws `StartError` with one line to show when the database and the files disagree
 * (nothing is changed) or a file fails (that file leaves no trace, those before it stay; one outside a
 * transaction may leave an invalid index, which the next attempt drops).
 */
export async function migrate(
  sql: postgres.Sql,
  migrations: readonly Migration[],
  log: Pick<Logger, 'info'>,
): Promise<{ applied: string[]; version: number }> {
  const applied: string[] = []
  for (;;) {
    const startedAt = performance.now()
    const migration = await applyNext(sql, migrations)
    if (migration === 'prepared') continue
    if (migration === 'locked') {
      await new Promise((resolve) => setTimeout(resolve, lockPollMs))
      continue
    }
    if (!migration) return { applied, version: migrations.length }
    applied.push(migration.name)
    log.info(`applied ${migration.name}`, { milliseconds: Math.round(performance.now() - startedAt) })
  }
}

/** Only reads: a database never migrated is reported as such, not prepared. */
export async function migrationStatus(
  sql: postgres.Sql,
  migrations: readonly Migration[],
): Promise<MigrationStatus> {
  const { exists } = await findBookkeeping(sql)
  const records = exists ? await listApplied(sql) : []
  const names = new Map<string, string | null>(migrations.map(({ name }) => [name, null]))
  for (const record of records) names.set(record.name, record.applied_at)
  return {
    migrations: [...names].map(([name, applied_at]) => ({ name, applied_at })).sort(byName),
    problems: findProblems(migrations, records),
  }
}

/**
 * Applies the first file that is missing and returns it; undefined when none is, `locked` while another
 * installer is at work, `prepared` when the bookkeeping had to be changed first.
 */
async function applyNext(sql: postgres.Sql, migrations: readonly Migration[]) {
  const progress: { running?: Migration } = {}
  try {
    // Read committed whatever the database's default: a snapshot taken before the lock would hide what the
    // last holder did.
    return await sql.begin('isolation level read committed', async (tx) => {
      if (!(await lock(tx))) return 'locked'
      const records = await prepareBookkeeping(tx)
      const problems = findProblems(migrations, records)
      if (problems.length > 0) throw new StartError(problems.join('; '))
      const next = migrations[records.length]
      if (!next) return undefined
      if (await addOldestProgram(tx)) return 'prepared'
      progress.running = next
      await tx`
        insert into schema_migrations (version, name, checksum, oldest_program)
        values (${next.version}, ${next.name}, ${next.checksum}, ${next.oldestProgram})`
      // Without parameters this is the simple protocol: as many statements as the file has, in one message.
      if (next.isTransactional) await tx.unsafe(next.text)
      else await runOutside(sql, next)
      return next
    })
  } catch (error) {
    throw progress.running && !(error instanceof StartError) ? fileError(progress.running, error) : error
  }
}

/** A file means the same whatever the database or the role has set, and may take its time. */
const sameForAll = `
  set local statement_timeout = 0;
  set local idle_in_transaction_session_timeout = 0;
  set local lock_timeout = '5s';
  set local standard_conforming_strings = on;
  set local datestyle = 'ISO, MDY';
  set local timezone = 'UTC';
  set local transform_null_equals = off;
  set local array_nulls = on`

/**
 * Held to the end of the transaction and no longer, which is what a transaction pooler can keep. Time-outs
 * meant for requests would end a long file: none applies here but the files' own. A file that waits for a
 * lock holds up every later read and write of the table, so that it gives up after 5 s.
 *
 * An installer that finds it taken ends its transaction and comes again. One that waited inside would never
 * end: the holder's `create index concurrently` waits for the end of every transaction that has a snapshot
 * from before.
 */
async function lock(tx: postgres.TransactionSql): Promise<boolean> {
  await tx.unsafe(sameForAll)
  const [row] = await tx<[{ isLocked: boolean }]>`
    select pg_try_advisory_xact_lock(${lockKey}::bigint) as "isLocked"`
  return row.isLocked
}

/**
 * Runs the file's statement on a connection of its own, since that of `sql` is in the transaction that holds
 * the lock.
 */
async function runOutside(sql: postgres.Sql, { text }: Migration) {
  // postgres.js makes its own client for `listen` from parsed options in the same way.
  const outside = postgres({ ...sql.options, max: 1 } as object)
  try {
    // A concurrent build that broke off leaves its index behind, invalid, and `if not exists` would pass over
    // it.
    const invalid = await outside<{ name: string }[]>`
      select relname as name from pg_index join pg_class on pg_class.oid = indexrelid
      where not indisvalid and relnamespace = current_schema()::regnamespace`
    const words = text.split(/\W+/)
    for (const { name } of invalid)
      if (words.includes(name)) await outside`drop index concurrently if exists ${outside(name)}`
    await outside.unsafe(text)
  } finally {
    await outside.end({ timeout: 5 })
  }
}

async function prepareBookkeeping(tx: postgres.TransactionSql): Promise<AppliedMigration[]> {
  const { exists, role, schema } = await findBookkeeping(tx)
  // Not `create table if not exists`: that needs the right to create even when there is nothing to do.
  if (exists) return listApplied(tx)
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
    throw new StartError(
      `the role "${role}" may not create tables in the schema "${schema}": grant it create on that schema` +
        ` (${describe(error)})`,
      { cause: error },
    )
  }
  return []
}

/**
 * Databases of before programs could run beside a newer schema lack the column. The transaction that adds it
 * ends at once: its lock keeps readers away, of whom an index that is built concurrently would wait for the
 * end.
 */
async function addOldestProgram(tx: postgres.TransactionSql): Promise<boolean> {
  const [column] = await tx`
    select from pg_attribute
    where attrelid = to_regclass(quote_ident(current_schema()) || '.schema_migrations') and attname = 'oldest_program'`
  if (column) return false
  await tx`alter table schema_migrations add column oldest_program integer`
  return true
}

/**
 * `exists` is about the schema that `create table` would use; the same name further down search_path is
 * someone else's.
 */
async function findBookkeeping(sql: postgres.Sql | postgres.TransactionSql) {
  const [row] = await sql<[{ exists: boolean; role: string; schema: string | null }]>`
    select to_regclass(quote_ident(current_schema()) || '.schema_migrations') is not null as exists,
      current_user as role,
      current_schema() as schema`
  return row
}

function listApplied(sql: postgres.Sql | postgres.TransactionSql) {
  return sql<AppliedMigration[]>`
    select version, name, checksum, ${oldestProgram(sql)},
      to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as applied_at
    from schema_migrations
    order by version`
}

/** As text of a statement that also runs where the column does not exist yet. */
const oldestProgram = (sql: postgres.Sql | postgres.TransactionSql) =>
  sql`(to_jsonb(schema_migrations) ->> 'oldest_program')::int as oldest_program`

function findProblems(migrations: readonly Migration[], records: readonly AppliedMigration[]): string[] {
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

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1)

const describe = (error: unknown) =>
  String(error instanceof Error ? error.message : error).replace(/\s+/g, ' ')

function fileError(migration: Migration, error: unknown) {
  return new StartError(`${migration.name}${errorPlace(migration, error)}: ${describe(error)}`, {
    cause: error,
  })
}

/**
 * Postgres knows the place of what it could not parse or find; for an error raised by a function it names
 * that one's line.
 */
function errorPlace({ text }: Migration, error: unknown) {
  if (!(error instanceof postgres.PostgresError)) return ''
  if (error.position) {
    // Postgres counts characters from 1, JavaScript strings count UTF-16 units.
    const before = [...text].slice(0, Number(error.position) - 1)
    return ` line ${before.filter((character) => character === '\n').length + 1}`
  }
  return error.where ? ` (${describe(error.where.split('\n')[0])})` : ''
}
