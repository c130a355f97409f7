/** postgres.js as the application's Database, on every runtime. */
import postgres, {
  type Options,
  type PendingQuery,
  type Row,
  type RowList,
  type Sql,
  type TransactionSql,
} from 'postgres'
import { type Database, DatabaseUnavailableError, DeadlineError, type ValueTypes } from '../database.ts'
import { createGate } from './gate.ts'

/**
 * Postgres undid the statement as a whole, so it can be run again (PostgreSQL documentation, section 13.5): deadlocks,
 * serialization failures, and a cancellation that was meant for another.
 */
const undone = new Set(['40P01', '40001', '57014'])
const attempts = 3
/** How long a cancelled statement may take to say so before it is given up without an answer. */
const cancellationMs = 1000

/** Options that every client of ours has: how values travel. */
export const valueOptions = {
  // No array types are used, so the look-up of their ids, a round trip at each connect, can go.
  fetch_types: false,
  types: {
    // Ids: identity columns stay far below 2^53.
    bigint: { to: 20, from: [20], serialize: String, parse: Number },
    // As RFC 3339 text, which is what JSON wants: no Date is made only to be turned back into text.
    date: { to: 1184, from: [1082, 1114, 1184], serialize: String, parse: toRfc3339 },
  },
  // A server that has gone is asked again soon; meanwhile callers are answered 503.
  backoff: (retries: number) => Math.min(0.05 * 2 ** retries, 1),
  connect_timeout: 5,
  onnotice: () => {},
} satisfies Options<Record<string, postgres.PostgresType>>

/** Postgres prints `2026-11-22 07:04:05.12+00`; clients are promised `2026-11-22T07:04:05.120Z`. */
export function toRfc3339(text: string): string {
  if (text.length <= 26 && text.endsWith('+00')) {
    const fraction = text.slice(20, -3)
    if (fraction.length <= 3) return `${text.slice(0, 10)}T${text.slice(11, 19)}.${fraction.padEnd(3, '0')}Z`
  }
  return new Date(text).toISOString()
}

export type Connect = () => Sql<ValueTypes>

/**
 * No more statements are under way than there are connections, so that each has one to itself. postgres.js would send
 * several on one without waiting, and when one of those is cancelled before its turn, it drops that statement but not
 * the answer: everyone behind would get somebody else's rows.
 *
 * Deadlines are the client's, so that they hold on any server and behind any pooler, waiting for a connection included.
 * At the end of one the server is asked to cancel; a connection that does not even answer that is dead, and all of them
 * are made anew.
 */
export function createDatabase(connect: Connect, { places, timeoutMs: defaultTimeoutMs }: Limits) {
  const open = () => ({ sql: connect(), gate: createGate(places) })
  const heavyGate = createGate(Math.max(1, Math.floor(places / 3)))
  let client = open()

  function abandon(lost: typeof client) {
    if (client === lost) client = open()
    lost.sql.end({ timeout: 0 }).catch(() => {})
  }

  /** Runs `act` on a connection of its own; `ms` is what remains of the time when it gets one. */
  async function onConnection<T>(
    timeoutMs: number,
    act: (sql: Sql<ValueTypes>, ms: number, lost: () => void) => Settling<T>,
  ) {
    const begun = performance.now()
    const current = client
    const leave = await current.gate.enter(timeoutMs)
    const remaining = Math.max(1, Math.ceil(timeoutMs - (performance.now() - begun)))
    try {
      const { outcome, settled } = act(current.sql, remaining, () => abandon(current))
      settled.then(leave)
      return outcome
    } catch (error) {
      leave()
      throw error
    }
  }

  const database: Database = {
    async run(build, { timeoutMs = defaultTimeoutMs, heavy = false } = {}) {
      const leave = heavy ? await heavyGate.enter(timeoutMs) : undefined
      try {
        return await retrying(() =>
          onConnection(timeoutMs, (sql, ms, lost) => withinDeadline(build(sql), ms, lost)),
        )
      } finally {
        leave?.()
      }
    },
    transaction: (work, { timeoutMs = defaultTimeoutMs } = {}) =>
      retrying(() =>
        onConnection(timeoutMs, (sql, ms, lost) => {
          const begun = sql.begin((tx) => work(inTransaction(tx, timeoutMs, lost)))
          return lostAfter(begun as ReturnType<typeof work>, ms + 2 * cancellationMs, lost)
        }),
      ),
  }
  return {
    ...database,
    close: () => client.sql.end({ timeout: 2 }),
    /** Statements on a connection, and waiting for one, at this moment. */
    load() {
      const { running, waiting } = client.gate.load()
      return { running, waiting: waiting + heavyGate.load().waiting }
    },
  }
}

type Limits = {
  /** Statements under way at a time: as many as `connect` makes connections. */
  places: number
  timeoutMs: number
}

/** What comes of it, at the deadline if not before; and when the connection is free again. */
type Settling<T> = { outcome: Promise<T>; settled: Promise<void> }

function inTransaction(tx: TransactionSql<ValueTypes>, defaultTimeoutMs: number, lost: () => void): Database {
  return {
    // A failure undoes all of the transaction, so that only the whole can be run again.
    run: (build, { timeoutMs = defaultTimeoutMs } = {}) => withinDeadline(build(tx), timeoutMs, lost).outcome,
    transaction() {
      throw new TypeError('transactions do not nest')
    },
  }
}

async function retrying<T>(act: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act()
    } catch (error) {
      if (isUnavailable(error)) throw new DatabaseUnavailableError('the database is away', { cause: error })
      const wasUndone = error instanceof postgres.PostgresError && undone.has(error.code)
      if (!wasUndone || attempt >= attempts) throw error
    }
  }
}

function withinDeadline<T extends readonly Row[]>(
  query: PendingQuery<T>,
  timeoutMs: number,
  lost: () => void,
): Settling<RowList<T>> {
  let overdue = false
  let cancelled: Promise<unknown> = Promise.resolve()
  let timer: ReturnType<typeof setTimeout>
  const outcome = new Promise<RowList<T>>((resolve, reject) => {
    timer = setTimeout(() => {
      overdue = true
      cancelled = cancel(query)
      timer = setTimeout(() => {
        reject(new DeadlineError(`no answer within ${timeoutMs} ms`))
        lost()
      }, cancellationMs)
    }, timeoutMs)
    query.then(
      (rows) => resolve(withoutHoles(rows)),
      (error: unknown) =>
        reject(overdue ? new DeadlineError(`cancelled after ${timeoutMs} ms`, { cause: error }) : error),
    )
  })
  const settled = query
    .then(
      () => {},
      () => {},
    )
    .then(() => clearTimeout(timer))
    // A cancellation that arrives late would hit the connection's next statement.
    .then(() => cancelled)
    .then(() => {})
  return { outcome, settled }
}

function lostAfter<T>(work: Promise<T>, ms: number, lost: () => void): Settling<T> {
  let timer: ReturnType<typeof setTimeout>
  const outcome = new Promise<T>((resolve, reject) => {
    timer = setTimeout(() => {
      reject(new DeadlineError(`no end of the transaction within ${ms} ms`))
      lost()
    }, ms)
    work.then(resolve, reject)
  })
  const settled = work
    .then(
      () => {},
      () => {},
    )
    .then(() => clearTimeout(timer))
  return { outcome, settled }
}

/** `query.cancel()` is this, but for the failure, which it leaves to nobody: it would end the process. */
async function cancel(query: object): Promise<void> {
  const { canceller } = query as { canceller?: (query: object) => Promise<unknown> }
  await canceller?.(query).catch(() => {})
}

/** After a failure in mid-answer postgres.js begins the next one where that stopped (its issue 1181). */
function withoutHoles<T extends readonly Row[]>(rows: RowList<T>): RowList<T> {
  return rows.length === 0 || 0 in rows ? rows : (rows.filter(() => true) as unknown as RowList<T>)
}

/**
 * Whether the statement failed because the server cannot be reached, is starting or stopping, or has no connection
 * left: postgres.js's own codes, the system's, and SQLSTATE classes 08, 53 and 57P.
 */
function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  return /^(CONNECT|ECONN|EHOST|ENET|ENOENT|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_|08|53|57P)/.test(
    String(error.code),
  )
}
