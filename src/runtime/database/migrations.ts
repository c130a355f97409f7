/** Brings a database to this program's schema: numbered SQL files, each applied once, in order, in its own transaction. */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import type { Logger } from '../../log.ts'
import { StartError } from '../../start-error.ts'

export type Migration = { version: number; name: string; checksum: string; text: string }

type AppliedMigration = { version: number; name: string; checksum: string; applied_at: string }

export type MigrationStatus = {
  /** Every file known to the program or the database, in order. */
  migrations: { name: string; applied_at: string | null }[]
  /** Why `migrate` would refuse this database; empty when it would not. */
  problems: string[]
}

// Any number does, as long as nothing else in the database locks the same one.
const lockKey = '5318008214071'

/** Refuses names that don't parse, gaps and duplicates, so that a file's number is its place in the list plus one. */
export async function readMigrations(directory: string): Promise<Migration[]> {
  const names = await listSqlFiles(directory)
  if (names.length === 0) throw new StartError(`there are no migrations in ${directory}`)
  return Promise.all(
    names.map(async (name, index) => {
      checkName(name, index, names[index - 1])
      const text = normalise(await readFile(join(directory, name), 'utf8'))
      checkTransactionControl(name, text)
      return { version: index + 1, name, checksum: createHash('sha256').update(text).digest('hex'), text }
    }),
  )
}

/**
 * Applies what is missing. Any number of processes may do so at once: each file is run by one of them, the others
 * wait for it. Throws `StartError` with one line to show when the database and the files disagree (nothing is
 * changed) or a file fails (that file leaves no trace, those before it stay).
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

/** Applies the first file that is missing and returns it, or undefined when none is. */
async function applyNext(sql: postgres.Sql, migrations: readonly Migration[]) {
  const progress: { running?: Migration } = {}
  try {
    // Read committed whatever the database's default: a snapshot taken before the lock would hide what the last holder did.
    return await sql.begin('isolation level read committed', async (tx) => {
      await lock(tx)
      const records = await prepareBookkeeping(tx)
      const problems = findProblems(migrations, records)
      if (problems.length > 0) throw new StartError(problems.join('; '))
      const next = migrations[records.length]
      if (!next) return undefined
      progress.running = next
      await tx`
        insert into schema_migrations (version, name, checksum)
        values (${next.version}, ${next.name}, ${next.checksum})`
      // Without parameters this is the simple protocol: as many statements as the file has, in one message.
      await tx.unsafe(next.text)
      return next
    })
  } catch (error) {
    throw progress.running && !(error instanceof StartError) ? fileError(progress.running, error) : error
  }
}

/**
 * Held to the end of the transaction and no longer, which is what a transaction pooler can keep. Time-outs meant for
 * requests would end the wait for another installer, or a long file: none applies here but the files' own.
 */
async function lock(tx: postgres.TransactionSql) {
  await tx.unsafe(`
    set local statement_timeout = 0;
    set local lock_timeout = 0;
    select pg_advisory_xact_lock(${lockKey});
    set local lock_timeout to default`)
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
        applied_at timestamptz not null default now()
      )`
  } catch (error) {
    if (!(error instanceof postgres.PostgresError && error.code === '42501')) throw error
    throw new StartError(
      `the role "${role}" may not create tables in the schema "${schema}": grant it create on that schema`,
      { cause: error },
    )
  }
  return []
}

/** `exists` is about the schema that `create table` would use; the same name further down search_path is someone else's. */
async function findBookkeeping(sql: postgres.Sql | postgres.TransactionSql) {
  const [row] = await sql<[{ exists: boolean; role: string; schema: string | null }]>`
    select to_regclass(quote_ident(current_schema()) || '.schema_migrations') is not null as exists,
      current_user as role,
      current_schema() as schema`
  return row
}

function listApplied(sql: postgres.Sql | postgres.TransactionSql) {
  return sql<AppliedMigration[]>`
    select version, name, checksum,
      to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as applied_at
    from schema_migrations
    order by version`
}

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
  const latest = records.at(-1)
  if (latest && latest.version > migrations.length)
    problems.push(
      `the database is at ${latest.name}, newer than this program's ${migrations.at(-1)?.name}: run the newer program (or restore the file, if it was removed)`,
    )
  return problems
}

async function listSqlFiles(directory: string) {
  try {
    const names = await readdir(directory)
    // Editors and macOS leave hidden copies such as ._0001_accounts.sql behind.
    return names.filter((name) => /\.sql$/i.test(name) && !name.startsWith('.')).sort()
  } catch (error) {
    throw new StartError(`cannot read the migrations in ${directory}: ${describe(error)}`, { cause: error })
  }
}

function checkName(name: string, index: number, previous: string | undefined) {
  if (!/^\d{4}_[a-z0-9_]+\.sql$/.test(name))
    throw new StartError(`${name} is no name for a migration: it must look like 0001_accounts.sql`)
  const number = name.slice(0, 4)
  if (number === previous?.slice(0, 4))
    throw new StartError(`${previous} and ${name} have the same number: give one the next free number`)
  const expected = String(index + 1).padStart(4, '0')
  if (number !== expected)
    throw new StartError(`the migration ${expected} is missing: ${name} comes after ${previous ?? 'nothing'}`)
}

/** Git may check out CRLF and some editors add a byte order mark: the same file must keep its checksum. */
function normalise(text: string) {
  return text.replace(/^\uFEFF/, '').replace(/\r\n/g, '\n')
}

// Where a word is no statement: comments, quoted bodies, strings with and without backslashes, quoted names.
const opaque = new RegExp(
  [
    /--[^\n]*/,
    /\/\*[\s\S]*?\*\//,
    /(?<![\w$])\$([A-Za-z_]\w*)?\$[\s\S]*?\$\1\$/,
    /\b[eE]'(?:[^'\\]|\\[\s\S]|'')*'/,
    /'[^']*'/,
    /"[^"]*"/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'g',
)
const atomicBody = /\bbegin\s+atomic\b[\s\S]*?;\s*end\b/gi
const transactionControl =
  /((?:^|;)\s*)(begin|start\s+transaction|commit|end|rollback(?!\s+to\b)|abort|prepare\s+transaction)\b/i

/** A file that ends the transaction it runs in would be half applied when a later statement fails. */
function checkTransactionControl(name: string, text: string) {
  const code = text.replace(opaque, blank).replace(atomicBody, blank)
  const found = transactionControl.exec(code)
  if (!found) return
  const [, before = '', word] = found
  const line = code.slice(0, found.index + before.length).split('\n').length
  throw new StartError(`${name} line ${line}: leave out "${word}", every file runs in a transaction already`)
}

const blank = (text: string) => text.replace(/[^\n]/g, ' ')

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1)

const describe = (error: unknown) =>
  String(error instanceof Error ? error.message : error).replace(/\s+/g, ' ')

function fileError(migration: Migration, error: unknown) {
  return new StartError(`${migration.name}${errorPlace(migration, error)}: ${describe(error)}`, {
    cause: error,
  })
}

/** Postgres knows the place of what it could not parse or find; for an error raised by a function it names that one's line. */
function errorPlace({ text }: Migration, error: unknown) {
  if (!(error instanceof postgres.PostgresError)) return ''
  if (error.position) {
    // Postgres counts characters from 1, JavaScript strings count UTF-16 units.
    const before = [...text].slice(0, Number(error.position) - 1)
    return ` line ${before.filter((character) => character === '\n').length + 1}`
  }
  return error.where ? ` (${describe(error.where.split('\n')[0])})` : ''
}
