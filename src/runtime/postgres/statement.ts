/** One statement on one connection: its deadline, and what its failure says of the connection and of the statement itself. */
import postgres, { type PendingQuery, type Row, type RowList } from 'postgres'
import { DeadlineError } from '../../ports/database.ts'
import type { Connection } from './connections.ts'

/** How long a cancelled statement may take to say so before its connection is held to be dead. */
const cancellationMs = 1000
/** Between one cancellation and the next; twice as long each time. */
const repeatedAfterMs = { first: 10, longest: 250 }

/** The connection could not be made, or broke; postgres.js's error is the cause. */
export class ConnectionLostError extends Error {
  override name = 'ConnectionLostError'
  /** False when the server has certainly not run the statement, or has undone it. */
  readonly mayHaveRun: boolean
  /** The server takes no writes (any more): connections made before lead to the same. */
  readonly readOnly: boolean

  constructor(cause: unknown, { mayHaveRun, readOnly = false }: { mayHaveRun: boolean; readOnly?: boolean }) {
    super('the connection is lost', { cause })
    this.mayHaveRun = mayHaveRun
    this.readOnly = readOnly
  }
}

/**
 * The deadline passed and the server does not even answer a cancellation. Either nothing that is connected to it is alive, or
 * this statement alone cannot be cancelled, or a pooler hands no cancellations on: only the others can tell.
 */
export class SilenceError extends DeadlineError {
  /** When it was asked to cancel, on the clock of `performance.now()`. */
  readonly since: number

  constructor(message: string, since: number) {
    super(message)
    this.since = since
  }
}

/**
 * The deadline is the client's, so that it holds on any server and behind any pooler, making the connection included. At
 * its end the server is asked to cancel; rows that come nevertheless count, unless they are of a commit that a synchronous
 * standby has not confirmed: a cancellation ends that wait too, and the server answers as if all were well.
 * @throws ConnectionLostError when the connection is of no more use, DeadlineError, or else postgres.js's own errors
 */
export async function runWithin<T extends readonly Row[]>(
  query: PendingQuery<T>,
  { isClosed, isUnconfirmed, onClose, retire }: Connection,
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
  // postgres.js forgets a statement now and then whose connection closes just as it is written.
  let stopWaiting = () => {}
  const closing = new Promise<'closed'>((resolve) => {
    stopWaiting = onClose(() => after(0, 'closed' as const).then(resolve))
  })
  try {
    const first = await Promise.race([query, closing, after(timeoutMs, 'overdue' as const)])
    if (first === 'closed') throw lost(closed())
    if (first !== 'overdue') return confirmed(first)
    const late = new DeadlineError(`no answer within ${timeoutMs} ms`)
    // Still connecting: postgres.js would keep the connection and never use it again.
    if (!isSent(query)) {
      cancel(query)
      query.catch(() => {})
      throw new ConnectionLostError(late, { mayHaveRun: false })
    }
    const since = performance.now()
    const ended = cancelUntilEnded(query).then((isOver) => {
      if (!isOver) retire()
      return query
    })
    const second = await Promise.race([ended, closing, after(cancellationMs, 'silent' as const)]).catch(
      (error: unknown) => {
        if (isCanceled(error)) throw late
        throw error
      },
    )
    if (second === 'closed') throw lost(late)
    if (second !== 'silent') return confirmed(second)
    ended.catch(() => {})
    throw new SilenceError(late.message, since)
  } catch (error) {
    if (error instanceof DeadlineError || error instanceof ConnectionLostError) throw error
    if (isReadOnly(error)) throw new ConnectionLostError(error, { mayHaveRun: false, readOnly: true })
    throw isLoss(error) || !isSent(query) ? lost(error) : error
  } finally {
    stopWaiting()
    for (const timer of timers) clearTimeout(timer)
  }
}

/** Whether postgres.js has handed it to a connection; before, it cannot have reached the server. */
function isSent(query: object): boolean {
  return (query as { state?: unknown }).state !== null
}

/**
 * Again and again: one that comes between two messages of a statement, when the server is at nothing, is lost. False when
 * one may still be on its way: it would hit the connection's next statement. (postgres.js tells when one has been
 * delivered, but not over TLS.)
 */
async function cancelUntilEnded(query: Promise<unknown>): Promise<boolean> {
  let outcome: 'running' | 'cancelled' | 'other' = 'running'
  const ended = query.then(
    () => {
      outcome = 'other'
    },
    (error: unknown) => {
      outcome = isCanceled(error) ? 'cancelled' : 'other'
    },
  )
  let underWay = 0
  const begun = performance.now()
  let ms = repeatedAfterMs.first
  while (outcome === 'running' && performance.now() - begun < cancellationMs) {
    underWay++
    const delivered = cancel(query).then(() => underWay--)
    await Promise.race([ended, delivered.then(() => pause(ms)), pause(repeatedAfterMs.longest)])
    ms = Math.min(ms * 2, repeatedAfterMs.longest)
  }
  return underWay === 0 || ((outcome as string) === 'cancelled' && underWay === 1)
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** `query.cancel()` is this, but for the failure, which it leaves to nobody: it would end the process. */
async function cancel(query: object): Promise<void> {
  const { canceller } = query as { canceller?: (query: object) => Promise<unknown> }
  await canceller?.(query).catch(() => {})
}

/** query_canceled */
const isCanceled = (error: unknown) => error instanceof postgres.PostgresError && error.code === '57014'

/** read_only_sql_transaction: an Aurora writer that has become a reader keeps its connections. */
const isReadOnly = (error: unknown) => error instanceof postgres.PostgresError && error.code === '25006'

/**
 * idle_session_timeout, and those that undo a transaction (idle_in_transaction_session_timeout,
 * transaction_timeout): what was sent to a server that has closed the connection for these was not done.
 */
const wasIdle = (error: unknown) =>
  error instanceof postgres.PostgresError && /^(57P05|25P0[34])$/.test(error.code)

/**
 * Whether the failure is the connection's: of the system, of postgres.js, or said by a server or a pooler that closes it
 * (SQLSTATE classes 08 and 57P, and whatever else is fatal).
 */
function isLoss(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof postgres.PostgresError)
    return /^(FATAL|PANIC)$/.test(error.severity) || /^(08|57P)/.test(error.code)
  // A value that could not be written or read, and what postgres.js finds wrong with a statement before it sends it.
  if (error instanceof TypeError || error instanceof RangeError) return false
  const code = 'code' in error ? String(error.code) : ''
  return !/^(UNDEFINED_VALUE|MAX_PARAMETERS_EXCEEDED|NOT_TAGGED_CALL)$/.test(code)
}

/** After a failure in mid-answer postgres.js begins the next one where that stopped (its issue 1181). */
function withoutHoles<T extends readonly Row[]>(rows: RowList<T>): RowList<T> {
  return rows.length === 0 || 0 in rows ? rows : (rows.filter(() => true) as unknown as RowList<T>)
}
