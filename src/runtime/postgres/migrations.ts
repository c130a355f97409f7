/** Applies numbered SQL files, each once, in order, in or outside of a transaction of its own. */
import postgres from 'postgres'
import type { Logger } from '../../core/log.ts'
import { oneLine } from '../../core/plain-text.ts'
import { StartError } from '../../core/start-error.ts'
import { sameClient, textQuery } from './driver.ts'
import type { Migration } from './migration-files.ts'
import { addOldestProgram, findProblems, prepareBookkeeping } from './migration-records.ts'

/** An arbitrary number that nothing else in the database may lock. */
const lockKey = '5318008214071'
const lockPollMs = 50

/**
 * Applies the missing files. Any number of processes may do so at once: one of them runs a file, the others
 * wait for it.
 * @throws StartError in one line when the database and the files disagree (nothing is changed), or when a
 * file fails. That file leaves nothing behind, but for an invalid index of one outside a transaction, which
 * the next attempt drops.
 */
export async function migrate(
  sql: postgres.Sql,
  migrations: readonly Migration[],
  log: Pick<Logger, 'info'>,
) {
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

/**
 * Applies the first missing file and returns it. Returns undefined when none is missing, `locked` while
 * another installer is at work, `prepared` when the bookkeeping had to be changed first.
 */
async function applyNext(sql: postgres.Sql, migrations: readonly Migration[]) {
  let running: Migration | undefined
  try {
    // Explicitly read committed: a snapshot from before the lock would hide the work of its last holder.
    return await sql.begin('isolation level read committed', async (tx) => {
      if (!(await lock(tx))) return 'locked'
      const { table, records } = await prepareBookkeeping(tx)
      const problems = findProblems(migrations, records)
      if (problems.length > 0) throw new StartError(problems.join('; '))
      const next = migrations[records.length]
      if (!next) return undefined
      if (await addOldestProgram(tx, table)) return 'prepared'
      running = next
      if (next.isTransactional) await runInside(tx, next)
      else {
        // Closes the portal of the last select, whose snapshot a concurrent index build would wait for.
        await tx.unsafe('select')
        await runOutside(sql, next)
      }
      // Afterwards, so that a file that ends the transaction is not recorded.
      const insert = `insert into ${table} (version, name, checksum, oldest_program) values ($1, $2, $3, $4)`
      await tx.unsafe(insert, [next.version, next.name, next.checksum, next.oldestProgram])
      return next
    })
  } catch (error) {
    throw running && !(error instanceof StartError) ? fileError(running, error) : error
  }
}

/**
 * A file must mean the same under all settings of the database and the role. One that waits for a table holds
 * up all later reads and writes of it, for 5 s at most.
 */
const fixedSettings = `
  set local statement_timeout = 0;
  set local idle_in_transaction_session_timeout = 0;
  set local lock_timeout = '5s';
  set local standard_conforming_strings = on;
  set local datestyle = 'ISO, MDY';
  set local timezone = 'UTC';
  set local transform_null_equals = off;
  set local array_nulls = on`

/**
 * The lock ends with the transaction, which is as long as a transaction pooler can keep one. An installer
 * that does not get it ends its transaction and tries again: the holder's `create index concurrently` waits
 * for every transaction with an older snapshot.
 */
async function lock(tx: postgres.TransactionSql): Promise<boolean> {
  await tx.unsafe(fixedSettings)
  const [row] = await tx<[{ isLocked: boolean }]>`
    select pg_try_advisory_xact_lock(${lockKey}::bigint) as "isLocked"`
  return row.isLocked
}

/** @throws StartError when the file has ended the transaction; some of its statements stay then */
async function runInside(tx: postgres.TransactionSql, { name, text }: Migration) {
  const transactionId = async () => (await tx`select pg_current_xact_id()::text as id`)[0]?.id
  const before = await transactionId()
  // Without parameters this is the simple protocol: any number of statements in one message.
  await tx.unsafe(text)
  if ((await transactionId()) !== before)
    throw new StartError(`${name}: leave out commit and rollback, every file runs in a transaction already`)
}

/** On a connection of its own, since that of `sql` is in the transaction that holds the lock. */
async function runOutside(sql: postgres.Sql, { name, text }: Migration) {
  const outside = sameClient(sql)
  try {
    // A concurrent build that failed leaves an invalid index behind, over which `if not exists` would pass.
    const invalid = await outside<{ index: string }[]>`
      select relname as index from pg_index join pg_class on pg_class.oid = indexrelid
      where not indisvalid and relnamespace = current_schema()::regnamespace`
    const words = text.split(/\W+/)
    for (const { index } of invalid)
      if (words.includes(index)) await outside`drop index concurrently if exists ${outside(index)}`
    await textQuery(outside, text)
  } catch (error) {
    // By the extended protocol Postgres refuses a second statement.
    if (error instanceof postgres.PostgresError && error.routine === 'exec_parse_message')
      throw new StartError(`${name}: a file that runs outside a transaction has one statement, not several`)
    throw error
  } finally {
    await outside.end({ timeout: 5 })
  }
}

function fileError(migration: Migration, cause: unknown) {
  const reason = oneLine(cause instanceof Error ? cause.message : String(cause))
  return new StartError(`${migration.name}${locate(migration, cause)}: ${reason}`, { cause })
}

/** The line of a syntax error or an unknown name, or the function in which an error occurred. */
function locate({ text }: Migration, error: unknown) {
  if (!(error instanceof postgres.PostgresError)) return ''
  if (error.position) {
    // Postgres counts characters from 1, JavaScript strings count UTF-16 units.
    const before = [...text].slice(0, Number(error.position) - 1)
    return ` line ${before.filter((character) => character === '\n').length + 1}`
  }
  return error.where ? ` (${oneLine(error.where.split('\n')[0] ?? '')})` : ''
}
