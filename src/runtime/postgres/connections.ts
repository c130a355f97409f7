/** The connections of a process: each a client of postgres.js of its own, so that one that has failed is thrown away alone. */
import type { Notice, Sql } from 'postgres'
import type { ValueTypes } from '../../ports/database.ts'
import { createGate } from './gate.ts'

/** Makes a client with these among its options. postgres.js connects at its first statement. */
export type Connect = (own: {
  max: 1
  onclose: () => void
  onnotice: (notice: Notice) => void
}) => Sql<ValueTypes>

export type Connection = {
  sql: Sql<ValueTypes>
  /** Never again: postgres.js would make a new one for the next statement, which would be outside of a transaction under way. */
  isClosed: () => boolean
  /** Calls back once when it closes; answers what takes that back. A promise would keep whatever had ever waited for it. */
  onClose: (act: () => void) => () => void
  /** A commit on it was made here, but the server has given up waiting for its standby. */
  isUnconfirmed: () => boolean
  /** It is ended when it is given back. */
  retire: () => void
  /** On the clock of `performance.now()`. */
  openedAt: number
  /** The server's last sign of life on it, on the same clock. */
  heardAt: number
}

export type Loan = {
  connection: Connection
  /** To be called once. One that is not `reusable` is ended, whatever it is at. */
  giveBack: (reusable: boolean) => void
}

export type Connections = ReturnType<typeof createConnections>

export function createConnections(connect: Connect, places: number) {
  const gate = createGate(places)
  /** Last come, first lent: a connection in use knows its statements, one too many is never asked. */
  const idle: Connection[] = []
  const lent = new Set<Connection>()
  const outdated = new WeakSet<Connection>()

  function open(): Connection {
    let isClosed = false
    let isUnconfirmed = false
    const waiting = new Set<() => void>()
    const sql = connect({
      max: 1,
      onclose() {
        isClosed = true
        for (const act of waiting) act()
        waiting.clear()
        const place = idle.indexOf(connection)
        if (place >= 0) idle.splice(place, 1)
      },
      // By the server's own name for the place: the text is in its language, and the code says no more than a warning.
      onnotice({ routine }) {
        if (routine === 'SyncRepWaitForLSN') isUnconfirmed = true
      },
    })
    const now = performance.now()
    const connection: Connection = {
      sql,
      isClosed: () => isClosed,
      isUnconfirmed: () => isUnconfirmed,
      onClose(act) {
        waiting.add(act)
        return () => waiting.delete(act)
      },
      retire: () => void outdated.add(connection),
      openedAt: now,
      heardAt: now,
    }
    return connection
  }

  return {
    /** @throws DeadlineError when none was free within `ms` */
    async lend(ms: number): Promise<Loan> {
      const leave = await gate.enter(ms)
      try {
        const connection = idle.pop() ?? open()
        lent.add(connection)
        return {
          connection,
          giveBack(reusable) {
            lent.delete(connection)
            connection.heardAt = performance.now()
            if (reusable && !connection.isClosed() && !outdated.has(connection)) idle.push(connection)
            else end(connection)
            leave()
          },
        }
      } catch (error) {
        leave()
        throw error
      }
    },
    /** Those there are now are lent to nobody any more; what is under way on them may end. */
    renew() {
      for (const connection of lent) outdated.add(connection)
      for (const connection of idle.splice(0)) end(connection)
    },
    /**
     * Ends the idle ones that have not been heard from since then, on the clock of `performance.now()`: they may be dead. Of those
     * that are lent, what is under way on them will tell.
     */
    endUnheard(since: number) {
      for (const connection of idle.filter(({ heardAt }) => heardAt < since)) {
        idle.splice(idle.indexOf(connection), 1)
        end(connection)
      }
    },
    /** Lent, and waited for. */
    load: gate.load,
    /** Statements under way have `seconds` to end. */
    async close(seconds: number) {
      await Promise.all([...lent, ...idle].map(({ sql }) => sql.end({ timeout: seconds })))
    },
  }
}

function end({ sql }: Connection) {
  sql.end({ timeout: 0 }).catch(() => {})
}
