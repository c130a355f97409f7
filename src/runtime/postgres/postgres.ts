/** postgres.js as the application's Database, on every runtime. */
import type { Options, PostgresType } from 'postgres'
import type { Database } from '../../ports/database.ts'
import { type Connect, type Connection, type Connections, createConnections } from './connections.ts'
import { textQuery } from './driver.ts'
import { createFairSemaphore } from './fair-semaphore.ts'
import { retrying } from './retry.ts'
import { CancelTimeoutError, ConnectionLostError, runWithin } from './statement.ts'

/** Bounds the memory of waiting requests, and the part of one user. */
const heavyLimits = { waitingPerUser: 20, waitingInAll: 500 }
/** If so new a connection takes no writes, the address still leads to a server that takes none. */
const freshConnectionMs = 1000

export const valueOptions = {
  // No array types are used, so the look-up of their ids, a round trip at each connect, is left out.
  fetch_types: false,
  types: {
    // Ids: identity columns stay far below 2^53.
    bigint: { to: 20, from: [20], serialize: String, parse: Number },
    // Parameters are RFC 3339 text, which every server reads alike. Its own text of a time depends on
    // `datestyle` and `timezone` of the server, the database and the role, so no statement may return one.
    date: { to: 1184, from: [1082, 1114, 1184], serialize: String, parse: refuseTime },
    // The only numerics are times, selected as `extract(epoch from …)`.
    numeric: { to: 1700, from: [1700], serialize: String, parse: toRfc3339 },
  },
  // In seconds, name server, TLS and log-in included.
  connect_timeout: 5,
  onnotice: () => {},
} satisfies Options<Record<string, PostgresType>>

/** @param text seconds since the epoch: `1795331045.120000` is `2026-11-22T07:04:05.120Z` */
export function toRfc3339(text: string): string {
  const [seconds, microseconds] = text.split('.')
  const whole = Number(seconds) * 1000
  const rest = Number(microseconds) / 1000
  return new Date(text.startsWith('-') ? whole - Math.ceil(rest) : whole + Math.floor(rest)).toISOString()
}

function refuseTime(): string {
  throw new TypeError('select a time as extract(epoch from …): its text depends on settings of the server')
}

/**
 * Each statement has a connection to itself. postgres.js would send several on one connection without
 * waiting, and when one of them is cancelled before its turn, it drops the statement but not the answer: all
 * behind it would get wrong rows.
 */
export function createDatabase(
  connect: Connect,
  { poolSize, timeoutMs: defaultTimeoutMs }: { poolSize: number; timeoutMs: number },
) {
  const connections = createConnections(connect, poolSize)
  const heavySlots = createFairSemaphore({ slots: Math.max(1, Math.floor(poolSize / 3)), ...heavyLimits })

  const database = withText({
    async run(build, { timeoutMs = defaultTimeoutMs, heavyFor, read = false } = {}) {
      const remaining = countDown(timeoutMs)
      const release = heavyFor === undefined ? undefined : await heavySlots.acquire(timeoutMs, heavyFor)
      try {
        return await retrying({ timeoutMs: remaining(), read }, (ms, hasConflicted) =>
          onConnection(connections, ms, (connection, rest) =>
            hasConflicted
              ? inTransaction(connection, rest, (tx) => tx.run(build))
              : runWithin(build(connection.sql), connection, rest),
          ),
        )
      } finally {
        release?.()
      }
    },
    transaction: (work, { timeoutMs = defaultTimeoutMs } = {}) =>
      retrying({ timeoutMs, read: false }, (ms) =>
        onConnection(connections, ms, (connection, rest) => inTransaction(connection, rest, work)),
      ),
  })
  return {
    ...database,
    close: () => connections.close(2),
    load() {
      const { running, waiting } = connections.load()
      return { running, waiting: waiting + heavySlots.load().waiting }
    },
  }
}

const withText = (database: Omit<Database, 'query'>): Database => ({
  ...database,
  query: (text, values, { prepare = true, ...options } = {}) =>
    database.run((sql) => textQuery(sql, text, values, prepare), options),
})

function countDown(ms: number): () => number {
  const deadline = performance.now() + ms
  return () => Math.max(1, Math.ceil(deadline - performance.now()))
}

async function onConnection<T>(
  connections: Connections,
  timeoutMs: number,
  act: (connection: Connection, rest: number) => Promise<T>,
): Promise<T> {
  const remaining = countDown(timeoutMs)
  const { connection, release } = await connections.acquire(timeoutMs)
  let reusable = false
  try {
    const result = await act(connection, remaining())
    reusable = true
    return result
  } catch (error) {
    if (error instanceof CancelTimeoutError) connections.closeSilentSince(error.since)
    else if (error instanceof ConnectionLostError) {
      const isFresh = performance.now() - connection.openedAt <= freshConnectionMs
      if (error.readOnly && !isFresh) connections.markAllStale()
    } else reusable = true
    throw error
  } finally {
    release(reusable)
  }
}

/** One message to the server, so that the defaults of the database and the role do not matter. */
const begin = `begin isolation level read committed;
  set local lock_timeout = 0; set local idle_in_transaction_session_timeout = 0`

/** With `begin` and `commit` of our own: those of postgres.js have no deadlines. */
async function inTransaction<T>(
  connection: Connection,
  timeoutMs: number,
  work: (database: Database) => Promise<T>,
): Promise<T> {
  const { sql } = connection
  const remaining = countDown(timeoutMs)
  const failures: unknown[] = []
  const transaction = withText({
    // Never retried by itself: its failure undoes the whole transaction.
    run: (build, { timeoutMs = remaining() } = {}) =>
      runWithin(build(sql), connection, Math.min(timeoutMs, remaining())).catch((error: unknown) => {
        failures.push(error)
        throw error
      }),
    transaction() {
      throw new TypeError('transactions do not nest')
    },
  })
  let committing = false
  try {
    await runWithin(sql.unsafe(begin), connection, remaining())
    const result = await work(transaction)
    // `work` may have caught it, but Postgres would answer the commit with a rollback.
    if (failures.length > 0) throw failures[0]
    committing = true
    await runWithin(sql.unsafe('commit'), connection, remaining())
    return result
  } catch (error) {
    if (error instanceof ConnectionLostError) {
      throw committing ? error : new ConnectionLostError(error.cause, { ...error, mayHaveRun: false })
    }
    if (!(error instanceof CancelTimeoutError)) {
      const rollback = runWithin(sql.unsafe('rollback'), connection, remaining() + 1000)
      await rollback.catch(() => sql.end({ timeout: 0 }))
    }
    throw error
  }
}
