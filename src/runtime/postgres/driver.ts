/**
 * The private members and the faults of postgres.js 3.4.9 that this program depends on.
 * test/runtime/driver.test.ts fails when an upgrade changes them.
 */
import postgres, { type PendingQuery, type Row, type RowList, type Sql } from 'postgres'
import type { Logger } from '../../core/log.ts'
import type { SqlTag, SqlValue } from '../../ports/database.ts'

/** Whether the statement was handed to a connection. Before, it cannot have reached the server. */
export function isSent(query: object): boolean {
  return (query as { state?: unknown }).state !== null
}

/** Whether it is the first on its connection: the server works on it, or will next. */
export function isActive(query: object): boolean {
  return (query as { active?: unknown }).active === true
}

const staleRoutines = new Set(['FetchPreparedStatement', 'RevalidateCachedQuery', 'transformAssignedExpr'])

/**
 * Whether the server no longer takes a prepared statement, because the schema has changed or it is gone. The
 * next one with its text is prepared anew: see scripts/patch-postgres.mjs.
 */
export const isStale = (query: object, error: unknown) =>
  error instanceof postgres.PostgresError &&
  staleRoutines.has(error.routine) &&
  (query as { prepared?: unknown }).prepared === true

/** Settles a statement whose answer is no longer waited for. postgres.js ignores the answer. */
export function fail(query: object, error: Error) {
  ;(query as { reject: (error: Error) => void }).reject(error)
}

/** Fails a statement. One that was not sent yet is not sent any more. */
export function giveUp(query: object, error: Error) {
  fail(query, error)
  if (!isSent(query)) callCanceller(query)
}

/**
 * Cancels the statement if it is the first on its connection. postgres.js drops one that is cancelled before
 * its turn, but not its answer: all behind it would get wrong rows.
 */
export async function cancel(query: object): Promise<void> {
  if (isActive(query)) await callCanceller(query)
}

/** `query.cancel()` leaves a failure unhandled, which would end the process. */
function callCanceller(query: object) {
  const { canceller } = query as { canceller?: (query: object) => Promise<unknown> }
  return canceller?.(query).catch(() => {})
}

const [prepared, unprepared] = [true, false].map((prepare) => ({ prepare, simple: false }))

/** One statement by the extended protocol, without values, too. */
export function textQuery<T extends Row>(
  sql: Pick<SqlTag, 'unsafe'>,
  text: string,
  values: readonly SqlValue[] = [],
  prepare = false,
): PendingQuery<T[]> {
  // postgres.js copies both.
  return sql.unsafe<T[]>(text, values as SqlValue[], prepare ? prepared : unprepared)
}

/** Closes its connection, also in the middle of a statement. */
export function close(sql: Pick<Sql, 'end'>) {
  sql.end({ timeout: 0 }).catch(() => {})
}

/** Another client with one connection, made as postgres.js makes its own for `listen`. */
export const sameClient = (sql: Sql): Sql => postgres({ ...sql.options, max: 1 } as object)

/** A host with a colon, which postgres.js would cut there. It takes lists, but its types do not say so. */
export const hostWithColon = (host: string, port: number) =>
  ({ host: [host], port: [port] }) as unknown as { host: string; port: number }

/** After a failure within an answer the next one begins at the index of the failure (issue 1181). */
export function withoutHoles<T extends readonly Row[]>(rows: RowList<T>): RowList<T> {
  return rows.length === 0 || 0 in rows ? rows : (rows.filter(() => true) as unknown as RowList<T>)
}

/**
 * When a statement of a transaction meets a connection that has just closed, postgres.js writes to a socket
 * that is null, in a callback of its own. Only that statement waits for the write, and its deadline ends it.
 */
export const isLostWrite = (error: Error) =>
  // The file is not checked: in a bundle it is the bundle.
  error instanceof TypeError && /^ *at Immediate\.nextWrite /m.test(error.stack ?? '')

/** Any other uncaught error still ends the process. */
export function surviveLostWrites(log: Logger) {
  process.on('uncaughtException', (error) => {
    if (isLostWrite(error))
      return log.warn('a connection closed in mid-transaction', { error: error.message })
    log.error('crashed', { error: error.message, stack: error.stack })
    process.exit(1)
  })
}
