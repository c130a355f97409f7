/** postgres.js as the application's Database, on every runtime. */
import type { Options, PendingQuery, PostgresType, Row, RowList } from 'postgres'
import type { Database, SqlTag, SqlValue, StatementOptions } from '../../ports/database.ts'
import { type Connect, type Connection, createConnections, type Use } from './connections.ts'
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

const twoDigits = Array.from({ length: 60 }, (_, n) => String(n).padStart(2, '0'))
let lastDay = Number.NaN
/** Most times of an answer are of a few days. */
let lastDate = ''

/** @param text seconds since the epoch: `1795331045.120000` is `2026-11-22T07:04:05.120Z` */
export function toRfc3339(text: string): string {
  const point = text.indexOf('.')
  // Before 1970, rounded down.
  if (text.startsWith('-')) {
    const milliseconds = Math.ceil(Number(text.slice(point + 1)) / 1000)
    return new Date(Number(text.slice(0, point)) * 1000 - milliseconds).toISOString()
  }
  const seconds = Number(text.slice(0, point))
  const day = Math.floor(seconds / 86400)
  if (day !== lastDay) {
    lastDate = new Date(day * 86_400_000).toISOString().split('T', 1)[0] ?? ''
    lastDay = day
  }
  const minutes = Math.floor(seconds / 60)
  const time = `${twoDigits[Math.floor(minutes / 60) % 24]}:${twoDigits[minutes % 60]}:${twoDigits[seconds % 60]}`
  return `${lastDate}T${time}.${text.slice(point + 1, point + 4)}Z`
}

function refuseTime(): string {
  throw new TypeError('select a time as extract(epoch from …): its text depends on settings of the server')
}

export function createDatabase(
  connect: Connect,
  { poolSize, timeoutMs: defaultTimeoutMs }: { poolSize: number; timeoutMs: number },
) {
  const connections = createConnections(connect, poolSize)
  const heavySlots = createFairSemaphore({ slots: Math.max(1, Math.floor(poolSize / 3)), ...heavyLimits })

  /** Acquires a connection for `act` within `ms`. */
  async function on<T>(use: Use, ms: number, act: (connection: Connection, rest: number) => Promise<T>) {
    const begun = performance.now()
    const connection = await connections.acquire(use, ms)
    try {
      return await act(connection, Math.max(1, ms - (performance.now() - begun)))
    } catch (error) {
      const isFresh = performance.now() - connection.openedAt <= freshConnectionMs
      if (error instanceof ConnectionLostError && error.readOnly && !isFresh) connections.retireAll()
      throw error
    } finally {
      connections.release(connection)
    }
  }

  const database = withText({
    async run(build, { timeoutMs = defaultTimeoutMs, heavyFor, read = false, brief = false } = {}) {
      const remaining = countDown(timeoutMs)
      const release = heavyFor === undefined ? undefined : await heavySlots.acquire(timeoutMs, heavyFor)
      const use = brief && read && heavyFor === undefined ? 'shared' : 'own'
      const once = (connection: Connection, rest: number) =>
        runWithin(build(connection.sql), connection, rest)
      const alone = (connection: Connection, rest: number) =>
        inTransaction(connection, rest, (tx) => tx.run(build))
      try {
        return await retrying({ timeoutMs: remaining(), read }, (ms, manner) =>
          manner === 'in a transaction'
            ? on('own', ms, alone)
            : on(manner === 'apart' ? 'own' : use, ms, once),
        )
      } finally {
        release?.()
      }
    },
    transaction: (work, { timeoutMs = defaultTimeoutMs } = {}) =>
      retrying({ timeoutMs, read: false }, (ms) =>
        on('own', ms, (connection, rest) => inTransaction(connection, rest, work)),
      ),
  })
  return {
    query: database.query,
    run: database.run,
    transaction: database.transaction,
    close: () => connections.close(2),
    load() {
      const { running, waiting } = connections.load()
      return { running, waiting: waiting + heavySlots.load().waiting }
    },
  }
}

type RunOptions = StatementOptions & { brief?: boolean }
type Runner = Omit<Database, 'query' | 'run'> & {
  run<T extends readonly Row[]>(
    build: (sql: SqlTag) => PendingQuery<T>,
    options?: RunOptions,
  ): Promise<RowList<T>>
}

const withText = (database: Runner): Database => ({
  ...database,
  query: (text, values = [], { prepare = true, brief = false, ...options } = {}) =>
    database.run((sql) => textQuery(sql, text, values, prepare), {
      ...options,
      brief: brief && prepare && values.every(isScalar),
    }),
})

/**
 * postgres.js 3.4.9 counts on an answer to a statement whose values it could not write, so that those behind it
 * would get wrong rows. It can write these.
 */
const isScalar = (value: SqlValue) =>
  value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'

function countDown(ms: number): () => number {
  const deadline = performance.now() + ms
  return () => Math.max(1, Math.ceil(deadline - performance.now()))
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
      await rollback.catch(() => {
        connection.isRetired = true
      })
    }
    throw error
  }
}
