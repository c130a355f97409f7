/** The interface to the database: statements with deadlines, and transactions. */
import type { ParameterOrJSON, PendingQuery, Row, RowList, Sql, TransactionSql } from 'postgres'

/** The types of values that postgres.js would convert otherwise: see runtime/postgres/postgres.ts. */
export type ValueTypes = { bigint: number; date: string; numeric: string }
/** postgres.js's tag, for statements and fragments of them. */
export type SqlTag = Sql<ValueTypes> | TransactionSql<ValueTypes>

/** The value of a statement's parameter, such as `$1`. */
export type SqlValue = ParameterOrJSON<ValueTypes[keyof ValueTypes]>

export type StatementOptions = {
  timeoutMs?: number
  /**
   * Id of the user for whom a heavy statement runs. Heavy statements get a part of the connections: one
   * statement of each user at a time, the users in turn. Rejects with a DatabaseBusyError without room or
   * time to wait.
   */
  heavyFor?: number
  /** Changes nothing, so that it is retried when its connection breaks. A sent write is never retried. */
  read?: boolean
}

export type TextOptions = StatementOptions & {
  prepare?: boolean
  /**
   * Finds its rows by an index: up to eight such reads are sent on one connection without waiting for each
   * other's answers. Changes nothing for a write.
   */
  brief?: boolean
}

export type Database = {
  /**
   * Runs the statement that `build` returns. It is built anew for each retry: after a conflict that undid it
   * (a deadlock, a serialization failure, a lock time-out), or when it did not reach the server. Rejects with
   * a DeadlineError, a DatabaseUnavailableError or else postgres.js's own errors.
   */
  run<T extends readonly Row[]>(
    build: (sql: SqlTag) => PendingQuery<T>,
    options?: StatementOptions,
  ): Promise<RowList<T>>
  /**
   * Runs a statement that is given as text, under the same rules as `run`. Each text is prepared once a
   * connection if DATABASE_PREPARE allows it. Pass `prepare: false` for a text that varies too much to be
   * kept.
   */
  query<T extends Row>(
    text: string,
    values?: readonly SqlValue[],
    options?: TextOptions,
  ): Promise<RowList<T[]>>
  /** Read committed. Inside, use only the database that is passed to `work`. */
  transaction<T>(work: (database: Database) => Promise<T>, options?: { timeoutMs?: number }): Promise<T>
}

/** Reasons why the database cannot be used at the moment, with the text for a log. */
const reasons = {
  away: 'the database is away',
  refused: 'the database refuses this service',
  crowded: 'the database takes no more connections',
  full: 'the database has no room left on its disk',
  'read only': 'the database takes no writes',
  'shared memory':
    'the database has no shared memory left: give it a larger /dev/shm, or a lower shared_buffers',
  exhausted: 'the database has no memory left, or another of its limits is reached',
  contended: 'too many statements want the same rows',
  unmigrated: 'the schema is older than the program: run npm run migrate',
} as const
export type UnavailableReason = keyof typeof reasons

/** The statement had no effect, unless it was a write under way when the connection broke. */
export class DatabaseUnavailableError extends Error {
  override name = 'DatabaseUnavailableError'
  readonly isExpected = true
  readonly reason: UnavailableReason

  constructor(reason: UnavailableReason, cause: unknown) {
    super(reasons[reason], { cause })
    this.reason = reason
  }
}

/** Too many heavy statements wait, or the user's turn did not come in time. The statement was not run. */
export class DatabaseBusyError extends Error {
  override name = 'DatabaseBusyError'
}

/**
 * The statement did not end in time. It was cancelled if that was possible; otherwise a write may have taken
 * effect, or may still do so.
 */
export class DeadlineError extends Error {
  override name = 'DeadlineError'
  readonly isExpected = true
}
