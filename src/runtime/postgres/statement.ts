/** One statement on one connection: its deadline, and the meaning of its failure. */
import postgres, { type PendingQuery, type Row, type RowList } from 'postgres'
import { backoffMs } from '../../core/backoff.ts'
import { DeadlineError } from '../../ports/database.ts'
import type { Connection } from './connections.ts'
import { cancel, close, fail, giveUp, isActive, isSent, isStale, withoutHoles } from './driver.ts'

/** A cancelled statement has this long to end before its connection counts as dead. */
const cancellationMs = 1000
const cancelAgain = { firstMs: 10, longestMs: 250 }

/**
 * The connection could not be made, or broke, or the statement was given up in its queue; the cause is
 * postgres.js's error, or a DeadlineError.
 */
export class ConnectionLostError extends Error {
  override name = 'ConnectionLostError'
  /** False when the server has certainly not run the statement, or has undone it. */
  readonly mayHaveRun: boolean
  /** The server takes no writes (any more): older connections lead to the same server. */
  readonly readOnly: boolean

  constructor(cause: unknown, { mayHaveRun, readOnly = false }: { mayHaveRun: boolean; readOnly?: boolean }) {
    super('the connection is lost', { cause })
    this.mayHaveRun = mayHaveRun
    this.readOnly = readOnly
  }
}

/**
 * The deadline passed, and the server does not answer the cancellation either. Its connections may all be
 * dead, or this statement cannot be cancelled, or a pooler does not forward cancellations: the other
 * connections will tell.
 */
export class CancelTimeoutError extends DeadlineError {}

/** A read that held up those behind it was cancelled. It is run again, on a connection of its own. */
export class GaveWayError extends Error {}

/** The server no longer takes the prepared statement, which had no effect. The cause is its error. */
export class StaleStatementError extends Error {}

/** A statement under way on a connection. */
export type Statement = {
  query: Promise<unknown>
  timeoutMs: number
  /** On the clock of `performance.now()`. */
  deadline: number
  isEnding: boolean
  isGivingWay: boolean
  /** The server has committed, but has stopped waiting for its synchronous standby. */
  isUnconfirmed: boolean
}

export const closed = () => new Error('the connection was closed')
const lateError = ({ timeoutMs }: Statement) =>
  new DeadlineError(`no answer within ${Math.round(timeoutMs)} ms`)

/**
 * Runs a statement within a deadline that the client keeps, connecting included, so that it holds on any
 * server and behind any pooler. The connections' timer looks at the deadlines. If a result still arrives it is
 * used, except for a commit that a synchronous standby has not confirmed: cancelling also ends the wait for
 * the standby, and Postgres then reports success.
 * @throws ConnectionLostError when the connection is of no more use or the outcome is unknown, DeadlineError,
 * or else postgres.js's own errors
 */
export async function runWithin<T extends readonly Row[]>(
  query: PendingQuery<T>,
  connection: Connection,
  timeoutMs: number,
): Promise<RowList<T>> {
  if (connection.isClosed) throw new ConnectionLostError(closed(), { mayHaveRun: false })
  const statement: Statement = {
    query,
    timeoutMs,
    deadline: performance.now() + timeoutMs,
    isEnding: false,
    isGivingWay: false,
    isUnconfirmed: false,
  }
  const { statements } = connection
  statements.push(statement)
  try {
    const rows = await query
    if (!statement.isUnconfirmed) return withoutHoles(rows)
  } catch (error) {
    throw meaningOf(error, statement, connection)
  } finally {
    // Answers arrive in order: it is the first, unless it was given up.
    if (statements[0] === statement) statements.shift()
    else statements.splice(statements.indexOf(statement), 1)
  }
  throw new ConnectionLostError(new DeadlineError('not replicated'), { mayHaveRun: true })
}

function meaningOf(error: unknown, statement: Statement, connection: Connection): unknown {
  if (error instanceof DeadlineError || error instanceof ConnectionLostError) return error
  const { query, isEnding, isGivingWay } = statement
  if (hasSqlState(error, /^57014$/) && isEnding) return lateError(statement)
  if (hasSqlState(error, /^57014$/) && isGivingWay) return new GaveWayError()
  if (isStale(query, error)) return new StaleStatementError('prepared for another schema', { cause: error })
  // read_only_sql_transaction: an Aurora writer that has become a reader keeps its connections.
  const readOnly = hasSqlState(error, /^25006$/)
  // A value that postgres.js could not write leaves its queue out of order.
  connection.isRetired ||= readOnly || !(error instanceof postgres.PostgresError) || isLoss(error)
  if (!readOnly && !isLoss(error) && isSent(query)) return error
  if (readOnly) return new ConnectionLostError(error, { mayHaveRun: false, readOnly })
  const mayHaveRun = isSent(query) && !wasIdle(error)
  return new ConnectionLostError(isEnding ? lateError(statement) : error, { mayHaveRun })
}

/**
 * Ends a statement at its deadline. Only the first on its connection can be cancelled: postgres.js drops one
 * that is cancelled before its turn, but not its answer, so that all behind it would get wrong rows. One in the
 * queue is given up, and may still run. Nothing new comes behind it.
 * Resolves with the time of a cancellation to which the server did not react.
 */
export async function endLate(connection: Connection, statement: Statement): Promise<number | undefined> {
  const { query } = statement
  statement.isEnding = true
  connection.isRetired = true
  if (isActive(query)) {
    const since = performance.now()
    if (await cancelUntilEnded(query)) return undefined
    fail(query, new CancelTimeoutError(lateError(statement).message))
    close(connection.sql)
    return since
  }
  const mayHaveRun = isSent(query)
  giveUp(query, new ConnectionLostError(lateError(statement), { mayHaveRun }))
  // Still connecting: postgres.js would keep the connection and never use it again.
  if (!mayHaveRun && connection.statements[0] === statement) close(connection.sql)
  return undefined
}

/** Cancels a read for the sake of those behind it. */
export async function giveWay(connection: Connection, statement: Statement) {
  if (statement.isGivingWay || statement.isEnding || !isActive(statement.query)) return
  statement.isGivingWay = true
  connection.isRetired = true
  await cancelUntilEnded(statement.query)
}

/**
 * Cancels repeatedly, since a cancellation has no effect if it arrives between two messages of the statement.
 * One that arrives late may hit the statement behind, which is undone by it, and is retried.
 * Returns false when the server has not reacted in time.
 */
async function cancelUntilEnded(query: Promise<unknown>): Promise<boolean> {
  let isOver = false
  const over = () => {
    isOver = true
  }
  const ended = query.then(over, over)
  const begun = performance.now()
  for (let attempt = 0; !isOver && performance.now() - begun < cancellationMs; attempt++) {
    const pauseMs = backoffMs(attempt, cancelAgain)
    const delivered = cancel(query).then(() => pause(pauseMs))
    await Promise.race([ended, delivered, pause(cancelAgain.longestMs)])
  }
  return isOver
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

const hasSqlState = (error: unknown, pattern: RegExp) =>
  error instanceof postgres.PostgresError && pattern.test(error.code)

/**
 * idle_session_timeout, idle_in_transaction_session_timeout, transaction_timeout: a statement sent to a
 * server which closed the connection for these has not run, or is undone.
 */
const wasIdle = (error: unknown) => hasSqlState(error, /^(57P05|25P0[34])$/)

/**
 * Whether the connection failed and not the statement: errors of the system, of postgres.js, and of a server
 * or pooler that closes the connection (SQLSTATE classes 08 and 57P, and fatal errors).
 */
function isLoss(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof postgres.PostgresError)
    return /^(FATAL|PANIC)$/.test(error.severity) || /^(08|57P)/.test(error.code)
  // A value that could not be written or read, or a statement that postgres.js refuses to send.
  if (error instanceof TypeError || error instanceof RangeError) return false
  const code = 'code' in error ? String(error.code) : ''
  return !/^(UNDEFINED_VALUE|MAX_PARAMETERS_EXCEEDED|NOT_TAGGED_CALL)$/.test(code)
}
