/** postgres.js as the application's Database, on every runtime. */
import postgres, { type Options, type Row } from 'postgres'
import {
  type Database,
  DatabaseUnavailableError,
  DeadlineError,
  type SqlValue,
  type StatementOptions,
} from '../../ports/database.ts'
import { type Connect, type Connection, type Connections, createConnections } from './connections.ts'
import { unavailable, unavailableReason } from './failure.ts'
import { createFairGate } from './fair-gate.ts'
import { ConnectionLostError, runWithin, SilenceError } from './statement.ts'

/**
 * Deadlocks and serialization failures: the statement was undone as a whole (PostgreSQL documentation,
 * section 13.5).
 */
const conflicts = new Set(['40P01', '40001'])
/** A cancellation that was meant for another statement. */
const canceled = '57014'
/** At least so often a conflict is met, and at most so often a cancellation. */
const attempts = 3
/** Retries last for so long: a client does not see conflicts and gaps that are shorter. */
const bridgedMs = 2000
/** Heavy statements that may wait in a process: with the memory that a request takes, and nobody alone fills the line. */
const heavyWaiting = { waitingOfEach: 20, waitingOfAll: 500 }
const pauseMs = { first: 25, longest: 400 }
/** A connection younger than this that takes no writes says that the address still leads to such a server. */
const justMadeMs = 1000

/** Options that every client of ours has: how values travel. */
export const valueOptions = {
  // No array types are used, so the look-up of their ids, a round trip at each connect, can go.
  fetch_types: false,
  types: {
    // Ids: identity columns stay far below 2^53.
    bigint: { to: 20, from: [20], serialize: String, parse: Number },
    // Parameters are RFC 3339 text, which every server reads alike. How it writes a time depends on
    // `datestyle` and `timezone` of the server, the database and the role, so that no statement may answer
    // one as such.
    date: { to: 1184, from: [1082, 1114, 1184], serialize: String, parse: refuseTime },
    // The only numerics are times, answered as `extract(epoch from …)`. As RFC 3339 text, which is what JSON
    // wants.
    numeric: { to: 1700, from: [1700], serialize: String, parse: toRfc3339 },
  },
  // In seconds: name server, TLS and log-in included.
  connect_timeout: 5,
  onnotice: () => {},
} satisfies Options<Record<string, postgres.PostgresType>>

/**
 * @param text seconds since the epoch, to the microsecond: `1795331045.120000` is `2026-11-22T07:04:05.120Z`
 */
export function toRfc3339(text: string): string {
  const [seconds, microseconds] = text.split('.')
  const whole = Number(seconds) * 1000
  const rest = Number(microseconds) / 1000
  return new Date(text.startsWith('-') ? whole - Math.ceil(rest) : whole + Math.floor(rest)).toISOString()
}

function refuseTime(): string {
  throw new TypeError('answer a time as extract(epoch from …): its text depends on settings of the server')
}

/**
 * Statements have a connection each, and are tried again where that cannot do anything twice: reads, what Postgres has
 * undone, and what has not reached the server. Of a write whose connection broke nobody knows what became: that is for the
 * client to find out.
 *
 * postgres.js itself would send several statements on one connection without waiting, and when one of those is cancelled
 * before its turn, it drops that statement but not the answer: everyone behind would get somebody else's rows.
 */
export function createDatabase(connect: Connect, { poolSize, timeoutMs: defaultTimeoutMs }: Limits) {
  const connections = createConnections(connect, poolSize)
  const heavyGate = createFairGate({ places: Math.max(1, Math.floor(poolSize / 3)), ...heavyWaiting })

  const database: Database = {
    query: (...statement) => runText(database.run, ...statement),
    async run(build, { timeoutMs = defaultTimeoutMs, heavyFor, read = false } = {}) {
      const begun = performance.now()
      const leave = heavyFor === undefined ? undefined : await heavyGate.enter(timeoutMs, heavyFor)
      // The time that it waited for its turn counts.
      const left = Math.max(1, Math.ceil(timeoutMs - (performance.now() - begun)))
      try {
        return await retrying({ timeoutMs: left, read }, (ms, hasConflicted) =>
          onConnection(connections, ms, (connection, rest) =>
            hasConflicted
              ? inTransaction(connection, rest, (tx) => tx.run(build))
              : runWithin(build(connection.sql), connection, rest),
          ),
        )
      } finally {
        leave?.()
      }
    },
    transaction: (work, { timeoutMs = defaultTimeoutMs } = {}) =>
      retrying({ timeoutMs, read: false }, (ms) =>
        onConnection(connections, ms, (connection, rest) => inTransaction(connection, rest, work)),
      ),
  }
  return {
    ...database,
    close: () => connections.close(2),
    /** Statements on a connection, and waiting for one, at this moment. */
    load() {
      const { running, waiting } = connections.load()
      return { running, waiting: waiting + heavyGate.load().waiting }
    },
  }
}

/** The extended protocol also without values, so that a text is one statement and can be prepared. */
function runText<T extends Row>(
  run: Database['run'],
  text: string,
  values: readonly SqlValue[] = [],
  { prepare = true, ...options }: StatementOptions & { prepare?: boolean } = {},
) {
  const form = { prepare, simple: false }
  return run((sql) => sql.unsafe<T[]>(text, [...values], form), options)
}

type Limits = {
  /** Statements under way at a time, and connections at most. */
  poolSize: number
  timeoutMs: number
}

/** Runs `act` on a connection of its own; `rest` is what remains of the time when it gets one. */
async function onConnection<T>(
  connections: Connections,
  timeoutMs: number,
  act: (connection: Connection, rest: number) => Promise<T>,
): Promise<T> {
  const begun = performance.now()
  const { connection, giveBack } = await connections.lend(timeoutMs)
  let reusable = false
  try {
    const result = await act(connection, Math.max(1, Math.ceil(timeoutMs - (performance.now() - begun))))
    reusable = true
    return result
  } catch (error) {
    if (error instanceof SilenceError) connections.endUnheard(error.since)
    else if (error instanceof ConnectionLostError) {
      if (error.readOnly && performance.now() - connection.openedAt > justMadeMs) connections.renew()
    } else reusable = true
    throw error
  } finally {
    giveBack(reusable)
  }
}

/** One message to the server. Whatever a database or a role has for its defaults, transactions are these. */
const begin = `begin isolation level read committed;
  set local lock_timeout = 0; set local idle_in_transaction_session_timeout = 0`

/**
 * `begin` and `commit` as statements of their own, which a connection that is lent to one can have: postgres.js's own
 * `begin` knows no deadlines, and writes on when the connection has gone.
 */
async function inTransaction<T>(
  connection: Connection,
  timeoutMs: number,
  work: (database: Database) => Promise<T>,
): Promise<T> {
  const { sql } = connection
  const deadline = performance.now() + timeoutMs
  const rest = () => Math.max(1, Math.ceil(deadline - performance.now()))
  const failures: unknown[] = []
  const transaction: Database = {
    query: (...statement) => runText(transaction.run, ...statement),
    // A failure undoes all of the transaction, so that only the whole can be run again.
    run: (build, { timeoutMs = rest() } = {}) =>
      runWithin(build(sql), connection, Math.min(timeoutMs, rest())).catch((error: unknown) => {
        failures.push(error)
        throw error
      }),
    transaction() {
      throw new TypeError('transactions do not nest')
    },
  }
  let committing = false
  try {
    await runWithin(sql.unsafe(begin), connection, rest())
    const result = await work(transaction)
    // Caught by `work` perhaps, but Postgres would answer a commit by undoing everything.
    if (failures.length > 0) throw failures[0]
    committing = true
    await runWithin(sql.unsafe('commit'), connection, rest())
    return result
  } catch (error) {
    if (error instanceof ConnectionLostError) {
      throw committing ? error : new ConnectionLostError(error.cause, { ...error, mayHaveRun: false })
    }
    if (!(error instanceof SilenceError)) {
      const undoing = runWithin(sql.unsafe('rollback'), connection, rest() + 1000)
      await undoing.catch(() => sql.end({ timeout: 0 }))
    }
    throw error
  }
}

/**
 * A conflict shows that the statement ran in a stricter isolation than read committed, or with a lock
 * time-out, that the database or the role has by default: then `act` is told so, and runs it again in a
 * transaction that has neither.
 * @throws DatabaseUnavailableError, DeadlineError, or else postgres.js's own errors
 */
async function retrying<T>(
  { timeoutMs, read }: { timeoutMs: number; read: boolean },
  act: (ms: number, hasConflicted: boolean) => Promise<T>,
): Promise<T> {
  const begun = performance.now()
  const spent = () => performance.now() - begun
  let hasConflicted = false
  for (let attempt = 1; ; attempt++) {
    try {
      return await act(Math.max(1, Math.ceil(timeoutMs - spent())), hasConflicted)
    } catch (error) {
      const pause = Math.min(pauseMs.first * 2 ** attempt, pauseMs.longest) * (0.5 + Math.random() / 2)
      const isBridged = spent() + pause < Math.min(bridgedMs, timeoutMs / 2)
      if (error instanceof ConnectionLostError) {
        if (!isBridged || !(read || !error.mayHaveRun)) throw unavailable(error.cause)
      } else if (!(error instanceof postgres.PostgresError)) throw error
      else if (error.code === canceled) {
        if (attempt >= attempts) throw new DeadlineError('cancelled by the server', { cause: error })
      } else if (conflicts.has(error.code) ? isBridged || attempt < attempts : isBridged && isLocked(error))
        hasConflicted = true
      else {
        const reason = unavailableReason(error)
        throw reason ? new DatabaseUnavailableError(reason, error) : error
      }
      await new Promise((resolve) => setTimeout(resolve, pause))
    }
  }
}

/**
 * lock_not_available. One that has waited for long did so by a time-out of its own statement, and is not run
 * again.
 */
const isLocked = ({ code }: postgres.PostgresError) => code === '55P03'
