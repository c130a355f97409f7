/** One statement on one connection: its deadline, and the meaning of its failure. */
import postgres, { type PendingQuery, type Row, type RowList } from 'postgres'
import { backoffMs } from '../../core/backoff.ts'
import { DeadlineError } from '../../ports/database.ts'
import type { Connection } from './connections.ts'
import { cancel, isSent, withoutHoles } from './driver.ts'

/** A cancelled statement has this long to end before its connection counts as dead. */
const cancellationMs = 1000
const cancelAgain = { firstMs: 10, longestMs: 250 }

/** The connection could not be made, or broke; the cause is postgres.js's error. */
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
export class CancelTimeoutError extends DeadlineError {
  /** When the cancellation was sent, on the clock of `performance.now()`. */
  readonly since: number

  constructor(message: string, since: number) {
    super(message)
    this.since = since
  }
}

/**
 * Runs a statement within a deadline that the client keeps, connecting included, so that it holds on any
 * server and behind any pooler. At the deadline the statement is cancelled. If its result still arrives it is
 * used, except for a commit that a synchronous standby has not confirmed: cancelling also ends the wait for
 * the standby, and Postgres then reports success.
 * @throws ConnectionLostError when the connection is of no more use, DeadlineError, or else postgres.js's own
 * errors
 */
export async function runWithin<T extends readonly Row[]>(
  query: PendingQuery<T>,
  { isClosed, isUnconfirmed, onClose, markStale }: Connection,
  timeoutMs: number,
): Promise<RowList<T>> {
  const lost = (cause: unknown) =>
    new ConnectionLostError(cause, { mayHaveRun: isSent(query) && !wasIdle(cause) })
  const closed = () => new Error('the connection was closed')
  if (isClosed()) throw new ConnectionLostError(closed(), { mayHaveRun: false })
  const confirmed = (rows: RowList<T>) => {
    if (isUnconfirmed())
      throw new ConnectionLostError(new DeadlineError('not replicated'), { mayHaveRun: true })
    return withoutHoles(rows)
  }
  const timers = new Set<ReturnType<typeof setTimeout>>()
  const after = <V>(ms: number, value: V) =>
    new Promise<V>((resolve) => {
      timers.add(setTimeout(resolve, ms, value))
    })
  // Sometimes postgres.js never settles a statement whose connection closes just as it is written.
  let stopListening = () => {}
  const closing = new Promise<'closed'>((resolve) => {
    stopListening = onClose(() => after(0, 'closed' as const).then(resolve))
  })
  try {
    const first = await Promise.race([query, closing, after(timeoutMs, 'overdue' as const)])
    if (first === 'closed') throw lost(closed())
    if (first !== 'overdue') return confirmed(first)
    const late = new DeadlineError(`no answer within ${timeoutMs} ms`)
    if (!isSent(query)) {
      // Still connecting. postgres.js would keep the connection and never use it again.
      cancel(query)
      query.catch(() => {})
      throw new ConnectionLostError(late, { mayHaveRun: false })
    }
    const since = performance.now()
    const ended = cancelUntilEnded(query).then((isOver) => {
      if (!isOver) markStale()
      return query
    })
    const second = await Promise.race([ended, closing, after(cancellationMs, 'silent' as const)]).catch(
      (error: unknown) => {
        if (hasSqlState(error, /^57014$/)) throw late
        throw error
      },
    )
    if (second === 'closed') throw lost(late)
    if (second !== 'silent') return confirmed(second)
    ended.catch(() => {})
    throw new CancelTimeoutError(late.message, since)
  } catch (error) {
    if (error instanceof DeadlineError || error instanceof ConnectionLostError) throw error
    // read_only_sql_transaction: an Aurora writer that has become a reader keeps its connections.
    if (hasSqlState(error, /^25006$/))
      throw new ConnectionLostError(error, { mayHaveRun: false, readOnly: true })
    throw isLoss(error) || !isSent(query) ? lost(error) : error
  } finally {
    stopListening()
    for (const timer of timers) clearTimeout(timer)
  }
}

/**
 * Cancels repeatedly: a cancellation has no effect if it arrives between two messages of the statement.
 * Returns false when one may still be under way, and would hit the connection's next statement. (postgres.js
 * learns of the delivery, but not over TLS.)
 */
async function cancelUntilEnded(query: Promise<unknown>): Promise<boolean> {
  const state: { ended?: 'cancelled' | 'otherwise' } = {}
  const ended = query.then(
    () => {
      state.ended = 'otherwise'
    },
    (error: unknown) => {
      state.ended = hasSqlState(error, /^57014$/) ? 'cancelled' : 'otherwise'
    },
  )
  let underWay = 0
  const begun = performance.now()
  for (let attempt = 0; !state.ended && performance.now() - begun < cancellationMs; attempt++) {
    underWay++
    const delivered = cancel(query).then(() => underWay--)
    const pauseMs = backoffMs(attempt, cancelAgain)
    await Promise.race([ended, delivered.then(() => pause(pauseMs)), pause(cancelAgain.longestMs)])
  }
  return underWay === 0 || (state.ended === 'cancelled' && underWay === 1)
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
