/** Connections of a process, each a postgres.js client, so that a failed one is replaced alone. */
import type { Notice, Sql } from 'postgres'
import { DeadlineError, type ValueTypes } from '../../ports/database.ts'
import { close, fail, giveUp, isActive, isSent } from './driver.ts'
import { closed, endLate, giveWay, type Statement } from './statement.ts'

type OwnOptions = { max: 1; onclose: () => void; onnotice: (notice: Notice) => void }

/** Makes a client with these among its options. postgres.js connects at its first statement. */
export type Connect = (own: OwnOptions) => Sql<ValueTypes>

/** `own`: one user at a time. Brief reads share connections. */
export type Use = 'own' | 'shared'

export type Connection = {
  sql: Sql<ValueTypes>
  use: Use
  users: number
  /** Under way, in the order in which they were sent. */
  statements: Statement[]
  /** The first statement at the last sweep, and the number of sweeps that have found it first. */
  head: Statement | undefined
  headSweeps: number
  /** Takes no new users, and is closed once the present ones have ended. */
  isRetired: boolean
  /** Stays true: postgres.js would reconnect for the next statement, outside of a transaction under way. */
  isClosed: boolean
  /** On the clock of `performance.now()`. */
  openedAt: number
  /** The last sign of life of the server on it, on the same clock. */
  heardAt: number
}

type Waiter = {
  use: Use
  ms: number
  deadline: number
  take: (it: Connection) => void
  fail: (error: Error) => void
}

export type Connections = ReturnType<typeof createConnections>

/** Statements under way on a shared connection. */
const depth = 8
/** One timer looks at all deadlines, which are seconds. */
const sweepMs = 50
/** A statement that is first at so many sweeps gets no more behind it, and then gives way to those behind. */
const [slowSweeps, verySlowSweeps] = [1, 3]

export function createConnections(connect: Connect, poolSize: number) {
  const inUse: Connection[] = []
  /** Last in, first out: surplus connections stay unused, and those in use know their prepared statements. */
  const idle: Connection[] = []
  /** First in, first out. While one waits nobody joins a shared connection, so that one becomes free for it. */
  const waiting: Waiter[] = []
  let isWatching = false

  function open(): Connection {
    const now = performance.now()
    const connection: Connection = {
      sql: connect({
        max: 1,
        onclose() {
          connection.isClosed = true
          remove(idle, connection)
          // postgres.js would connect again for those that wait in its own queue.
          for (const { query } of connection.statements) if (!isSent(query)) giveUp(query, closed())
          // Sometimes it never settles a statement whose connection closes just as it is written.
          setTimeout(() => {
            for (const { query } of connection.statements) fail(query, closed())
          })
        },
        // By the server's routine: the text depends on its language, and the code is that of any warning.
        onnotice({ routine }) {
          if (routine !== 'SyncRepWaitForLSN') return
          const statement = connection.statements.find(({ query }) => isActive(query))
          if (statement) statement.isUnconfirmed = true
        },
      }),
      use: 'own',
      users: 0,
      statements: [],
      head: undefined,
      headSweeps: 0,
      isRetired: false,
      isClosed: false,
      openedAt: now,
      heardAt: now,
    }
    return connection
  }

  /** Undefined when there is no room. */
  function place(use: Use): Connection | undefined {
    let best: Connection | undefined
    if (inUse.length < poolSize) {
      best = idle.pop() ?? open()
      best.use = use
      inUse.push(best)
    } else if (use === 'shared')
      for (const one of inUse)
        if (one.use === use && hasRoom(one) && !(best && best.users <= one.users)) best = one
    if (best) best.users++
    return best
  }

  function serve() {
    for (let first = waiting[0]; first; first = waiting[0]) {
      const connection = place(first.use)
      if (!connection) return
      waiting.shift()
      first.take(connection)
    }
  }

  function watch() {
    if (isWatching) return
    isWatching = true
    setTimeout(sweep, sweepMs)
  }

  function sweep() {
    isWatching = false
    const now = performance.now()
    const hasRoomElsewhere = inUse.length < poolSize || inUse.some((one) => one.headSweeps < slowSweeps)
    for (const connection of inUse) {
      const [head] = connection.statements
      connection.headSweeps = head && head === connection.head ? connection.headSweeps + 1 : 0
      connection.head = head
      for (const statement of connection.statements)
        if (statement.deadline <= now && !statement.isEnding)
          endLate(connection, statement).then((since) => since !== undefined && closeSilentSince(since))
      const isInTheWay = connection.statements.length > 1 && connection.headSweeps >= verySlowSweeps
      if (head && isInTheWay && hasRoomElsewhere) giveWay(connection, head)
    }
    for (const late of waiting.filter(({ deadline }) => deadline <= now)) {
      remove(waiting, late)
      late.fail(new DeadlineError(`no connection was free within ${late.ms} ms`))
    }
    if (inUse.length > 0 || waiting.length > 0) watch()
    serve()
  }

  /**
   * Closes the idle connections whose server was last heard before `since` (`performance.now()`), since
   * they may be dead. Statements under way find out about theirs.
   */
  function closeSilentSince(since: number) {
    for (const connection of idle.filter(({ heardAt }) => heardAt < since)) {
      remove(idle, connection)
      close(connection.sql)
    }
  }

  return {
    /** @throws DeadlineError when none was free within `ms` */
    acquire(use: Use, ms: number): Connection | Promise<Connection> {
      watch()
      const connection = waiting.length === 0 ? place(use) : undefined
      if (connection) return connection
      return new Promise((take, fail) => {
        waiting.push({ use, ms, deadline: performance.now() + ms, take, fail })
      })
    },
    release(connection: Connection) {
      connection.users--
      connection.heardAt = performance.now()
      if (connection.users === 0) {
        remove(inUse, connection)
        if (connection.isRetired || connection.isClosed) close(connection.sql)
        else idle.push(connection)
      }
      if (waiting.length > 0) serve()
    },
    /** No present connection is used again. Running statements may end. */
    retireAll() {
      for (const connection of inUse) connection.isRetired = true
      for (const connection of idle.splice(0)) close(connection.sql)
    },
    /** The first on each connection runs, and those behind it wait. */
    load() {
      const users = inUse.reduce((sum, connection) => sum + connection.users, 0)
      return { running: inUse.length, waiting: users - inUse.length + waiting.length }
    },
    /** Statements under way have `seconds` to end. */
    async close(seconds: number) {
      await Promise.all([...inUse, ...idle].map(({ sql }) => sql.end({ timeout: seconds })))
    },
  }
}

/** Without prepared statements postgres.js itself sends them one by one. */
const hasRoom = ({ sql, users, isRetired, isClosed, headSweeps }: Connection) =>
  users < depth && !isRetired && !isClosed && headSweeps < slowSweeps && sql.options.prepare

function remove<T>(list: T[], one: T) {
  const index = list.indexOf(one)
  if (index >= 0) list.splice(index, 1)
}
