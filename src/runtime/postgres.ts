/** postgres.js as the application's Database, on every runtime. */
import postgres, { type Options, type PendingQuery, type Row, type RowList } from 'postgres'
import { type Database, DatabaseUnavailableError, DeadlineError, type SqlTag } from '../database.ts'

/** Postgres undid the statement as a whole, so it can be run again (PostgreSQL documentation, section 13.5). */
const undone = new Set(['40P01', '40001'])
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

export function createDatabase(sql: SqlTag, defaultTimeoutMs: number): Database {
  // Within a transaction a failure undoes all of it, so that only the whole can be run again.
  const again = 'begin' in sql ? attempts : 1
  return {
    run: (build, { timeoutMs = defaultTimeoutMs } = {}) =>
      retrying(again, () => withinDeadline(build(sql), timeoutMs)),
    transaction(work) {
      if (!('begin' in sql)) throw new TypeError('transactions do not nest')
      const begin = () => sql.begin((tx) => work(createDatabase(tx, defaultTimeoutMs)))
      return retrying(again, begin) as ReturnType<typeof work>
    },
  }
}

async function retrying<T>(most: number, act: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act()
    } catch (error) {
      if (isUnavailable(error)) throw new DatabaseUnavailableError('the database is away', { cause: error })
      const wasUndone = error instanceof postgres.PostgresError && undone.has(error.code)
      if (!wasUndone || attempt >= most) throw error
    }
  }
}

/**
 * The deadline is the client's, so that it holds on any server and behind any pooler: at its end the server is asked to
 * cancel, and shortly after the statement is given up even if no answer comes.
 */
function withinDeadline<T extends readonly Row[]>(query: PendingQuery<T>, timeoutMs: number) {
  return new Promise<RowList<T>>((resolve, reject) => {
    let overdue = false
    let timer = setTimeout(() => {
      overdue = true
      query.cancel()
      timer = setTimeout(() => reject(new DeadlineError(`no answer within ${timeoutMs} ms`)), cancellationMs)
    }, timeoutMs)
    query.then(
      (rows) => {
        clearTimeout(timer)
        resolve(rows)
      },
      (error: unknown) => {
        clearTimeout(timer)
        reject(overdue ? new DeadlineError(`cancelled after ${timeoutMs} ms`, { cause: error }) : error)
      },
    )
  })
}

/**
 * Whether the statement failed because the server cannot be reached, is starting or stopping, or has no connection
 * left: postgres.js's own codes, the system's, and SQLSTATE classes 08, 53 and 57P.
 */
function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  return /^(CONNECT|ECONN|ENOENT|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_|08|53|57P)/.test(String(error.code))
}
