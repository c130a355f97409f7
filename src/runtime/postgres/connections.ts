/** Connections of a process, each a postgres.js client, so that a failed one is replaced alone. */
import type { Notice, Sql } from 'postgres'
import { createSemaphore } from '../../core/semaphore.ts'
import { DeadlineError, type ValueTypes } from '../../ports/database.ts'

type OwnOptions = { max: 1; onclose: () => void; onnotice: (notice: Notice) => void }

/** Makes a client with these among its options. postgres.js connects at its first statement. */
export type Connect = (own: OwnOptions) => Sql<ValueTypes>

export type Connection = {
  sql: Sql<ValueTypes>
  /** Stays true: postgres.js would reconnect for the next statement, outside of a transaction under way. */
  isClosed: () => boolean
  /** Registers a close listener; returns a function that removes it. A promise would retain past waiters. */
  onClose: (listener: () => void) => () => void
  /** The server has committed, but has stopped waiting for its synchronous standby. */
  isUnconfirmed: () => boolean
  /** The connection is closed once it is released. */
  markStale: () => void
  /** On the clock of `performance.now()`. */
  openedAt: number
  /** The last sign of life of the server on it, on the same clock. */
  heardAt: number
}

export type Lease = {
  connection: Connection
  /** Call it once. Closes a connection that is not `reusable`, also in the middle of a statement. */
  release: (reusable: boolean) => void
}

export type Connections = ReturnType<typeof createConnections>

export function createConnections(connect: Connect, poolSize: number) {
  const semaphore = createSemaphore(poolSize)
  /** Last in, first out: surplus connections stay unused, and those in use know their prepared statements. */
  const idle: Connection[] = []
  const leased = new Set<Connection>()
  const stale = new WeakSet<Connection>()

  function open(): Connection {
    let isClosed = false
    let isUnconfirmed = false
    const listeners = new Set<() => void>()
    const sql = connect({
      max: 1,
      onclose() {
        isClosed = true
        for (const listener of listeners) listener()
        listeners.clear()
        removeIdle(connection)
      },
      // By the server's routine: the text depends on its language, and the code is that of any warning.
      onnotice({ routine }) {
        if (routine === 'SyncRepWaitForLSN') isUnconfirmed = true
      },
    })
    const now = performance.now()
    const connection: Connection = {
      sql,
      isClosed: () => isClosed,
      isUnconfirmed: () => isUnconfirmed,
      onClose(listener) {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
      markStale: () => void stale.add(connection),
      openedAt: now,
      heardAt: now,
    }
    return connection
  }

  function removeIdle(connection: Connection) {
    const index = idle.indexOf(connection)
    if (index >= 0) idle.splice(index, 1)
  }

  return {
    /** @throws DeadlineError when none was free within `ms` */
    async acquire(ms: number): Promise<Lease> {
      const late = () => new DeadlineError(`no connection was free within ${ms} ms`)
      const releaseSlot = await semaphore.acquire(ms, late)
      try {
        const connection = idle.pop() ?? open()
        leased.add(connection)
        return {
          connection,
          release(reusable) {
            leased.delete(connection)
            connection.heardAt = performance.now()
            if (reusable && !connection.isClosed() && !stale.has(connection)) idle.push(connection)
            else close(connection)
            releaseSlot()
          },
        }
      } catch (error) {
        releaseSlot()
        throw error
      }
    },
    /** No present connection is leased again. Running statements may end. */
    markAllStale() {
      for (const connection of leased) stale.add(connection)
      for (const connection of idle.splice(0)) close(connection)
    },
    /**
     * Closes the idle connections whose server was last heard before `since` (`performance.now()`), since
     * they may be dead. Statements under way find out about theirs.
     */
    closeSilentSince(since: number) {
      for (const connection of idle.filter(({ heardAt }) => heardAt < since)) {
        removeIdle(connection)
        close(connection)
      }
    },
    load: semaphore.load,
    /** Statements under way have `seconds` to end. */
    async close(seconds: number) {
      await Promise.all([...leased, ...idle].map(({ sql }) => sql.end({ timeout: seconds })))
    },
  }
}

function close({ sql }: Connection) {
  sql.end({ timeout: 0 }).catch(() => {})
}
