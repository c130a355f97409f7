/** Retries of statements that cannot take effect twice. */
import postgres from 'postgres'
import { backoffMs } from '../../core/backoff.ts'
import { DatabaseUnavailableError, DeadlineError } from '../../ports/database.ts'
import { toUnavailable, unavailableReason } from './failure.ts'
import { ConnectionLostError, GaveWayError, StaleStatementError } from './statement.ts'

/** serialization_failure, deadlock_detected: the whole statement was undone. */
const retryableSqlStates = new Set(['40001', '40P01'])
/** lock_not_available. A statement that waited long was ended by its own time-out, and is not retried. */
const lockTimeout = '55P03'
/** query_canceled, by a cancellation that was meant for another statement. */
const canceled = '57014'
/** At least for conflicts, at most for cancellations. */
const attempts = 3
/** Each connection has prepared the statement for itself. */
const staleAttempts = 100
/** Clients do not see conflicts and outages that are shorter. */
const retryBudgetMs = 2000
const pause = { firstMs: 50, longestMs: 400, jitter: 0.5 }

/** `apart`: on a connection of its own, since it held up others. */
export type Manner = 'as asked' | 'apart' | 'in a transaction'

/**
 * Retries reads, statements that Postgres has undone, and those that did not reach the server. A conflict
 * shows that the database or the role has a stricter isolation than read committed by default, or a lock
 * time-out: `act` is then told to run in a transaction without them.
 * @throws DatabaseUnavailableError, DeadlineError, or else postgres.js's own errors
 */
export async function retrying<T>(
  { timeoutMs, read }: { timeoutMs: number; read: boolean },
  act: (ms: number, manner: Manner) => Promise<T>,
): Promise<T> {
  const begun = performance.now()
  const spent = () => performance.now() - begun
  let manner: Manner = 'as asked'
  for (let attempt = 1; ; attempt++) {
    try {
      return await act(Math.max(1, Math.ceil(timeoutMs - spent())), manner)
    } catch (error) {
      if (error instanceof GaveWayError) {
        manner = 'apart'
        continue
      }
      if (error instanceof StaleStatementError) {
        if (attempt < staleAttempts) continue
        throw error.cause
      }
      const pauseMs = backoffMs(attempt - 1, pause)
      const hasTime = spent() + pauseMs < Math.min(retryBudgetMs, timeoutMs / 2)
      if (error instanceof ConnectionLostError) {
        if (!hasTime || (error.mayHaveRun && !read)) throw toUnavailable(error.cause)
      } else if (!(error instanceof postgres.PostgresError)) throw error
      else if (error.code === canceled) {
        if (attempt >= attempts) throw new DeadlineError('cancelled by the server', { cause: error })
      } else if (mayRetryConflict(error.code, attempt, hasTime)) manner = 'in a transaction'
      else {
        const reason = unavailableReason(error)
        throw reason ? new DatabaseUnavailableError(reason, error) : error
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
  }
}

const mayRetryConflict = (code: string, attempt: number, hasTime: boolean) =>
  retryableSqlStates.has(code) ? hasTime || attempt < attempts : code === lockTimeout && hasTime
